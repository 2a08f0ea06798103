"""Calibration against a loop over bins, hand-computed cases and scikit-learn."""

import math

import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import log_loss
from torch import Tensor

from benchmark.evaluation.calibration import BINS, calibration

FAR = -1000.0  # a logit whose probability is 0


def by_loop(probabilities: list[list[float]], labels: list[int]) -> float:
    """ECE of Guo et al., section 2, image by image."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row, label in zip(probabilities, labels, strict=True):
        confidence = max(row)
        index = next(b for b in range(15) if b / 15 < confidence <= (b + 1) / 15)
        members[index].append((confidence, row.index(confidence) == label))
    total = 0.0
    for bin_ in members:
        if bin_:
            accuracy = sum(right for _, right in bin_) / len(bin_)
            confidence = sum(value for value, _ in bin_) / len(bin_)
            total += len(bin_) / len(labels) * abs(accuracy - confidence)
    return total


def random_logits(n: int, classes: int, scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """Logits of a given scale, and labels that are the largest logit in about half of the cases."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    right = torch.rand(n, generator=generator) < 0.5
    return logits, torch.where(right, logits.argmax(1), labels)


def of_probabilities(rows: list[list[float]]) -> Tensor:
    """Logits with these softmax probabilities."""
    return torch.tensor([[math.log(p) if p else FAR for p in row] for row in rows], dtype=torch.double)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_it_is_the_loop_over_bins_and_the_log_loss_of_scipy_and_scikit_learn(scale: float, classes: int) -> None:
    logits, labels = random_logits(700, classes, scale, seed=classes)
    probabilities = logits.double().softmax(1)
    found = calibration(logits, labels)
    assert found["n"] == 700
    assert found["bins"] == BINS == 15
    assert found["ece"] == pytest.approx(by_loop(probabilities.tolist(), labels.tolist()), abs=1e-6)
    logs = log_softmax(logits.double().numpy(), axis=1)
    assert found["nll"] == pytest.approx(-logs[range(700), labels.numpy()].mean(), abs=1e-6)
    if scale < 30:  # scikit-learn cuts probabilities off at 2e-16
        expected = log_loss(labels.numpy(), probabilities.numpy(), labels=list(range(classes)))
        assert found["nll"] == pytest.approx(expected, abs=1e-6)


def test_confidence_that_is_the_accuracy_has_no_error() -> None:
    # Four images of confidence 3/4, three of them right; ten of confidence 0.6, six right; and sure ones, right.
    rows = [[0.75, 0.25, 0.0]] * 4 + [[0.1, 0.6, 0.3]] * 10 + [[0.0, 0.0, 1.0]] * 3
    labels = [0, 0, 0, 1] + [1] * 6 + [0, 2, 2, 2] + [2] * 3
    found = calibration(of_probabilities(rows), torch.tensor(labels))
    assert found["ece"] == 0
    chosen = [row[label] for row, label in zip(rows, labels, strict=True)]
    assert found["nll"] == pytest.approx(-sum(map(math.log, chosen)) / 17, abs=1e-6)


def test_always_sure_and_always_wrong_is_an_error_of_1() -> None:
    logits = torch.tensor([[0.0, FAR, FAR], [FAR, FAR, 0.0]])
    found = calibration(logits, torch.tensor([1, 0]))
    assert found["ece"] == 1
    assert found["nll"] == -FAR


def test_gaps_of_one_bin_cancel_and_those_of_two_do_not() -> None:
    one = calibration(of_probabilities([[0.82, 0.18], [0.86, 0.14]]), torch.tensor([0, 1]))  # both in (12/15, 13/15]
    assert one["ece"] == pytest.approx(abs(0.5 - 0.84), abs=1e-6)
    two = calibration(of_probabilities([[0.78, 0.22], [0.86, 0.14]]), torch.tensor([0, 1]))
    assert two["ece"] == pytest.approx((0.22 + 0.86) / 2, abs=1e-6)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    """Three equal logits have the confidence 1/3 = 5/15 exactly; the first of them is predicted."""
    edge = [0.0, 0.0, 0.0, FAR]
    below, above = (torch.tensor(row).log().tolist() for row in ([0.3, 0.25, 0.25, 0.2], [0.35, 0.25, 0.2, 0.2]))
    right_and_wrong = torch.tensor([0, 1])
    same = calibration(torch.tensor([edge, below]), right_and_wrong)
    assert same["ece"] == pytest.approx(abs(1 - 1 / 3 - 0.3) / 2, abs=1e-6)
    other = calibration(torch.tensor([edge, above]), right_and_wrong)
    assert other["ece"] == pytest.approx((1 - 1 / 3 + 0.35) / 2, abs=1e-6)


@pytest.mark.parametrize("huge", [1e4, 1e30])
def test_huge_logits_stay_finite(huge: float) -> None:
    logits = torch.tensor([[huge, 0.0, -huge], [0.0, huge, -huge]])
    found = calibration(logits, torch.tensor([0, 0]))
    assert found["ece"] == 0.5
    assert found["nll"] == pytest.approx(huge / 2)


def test_half_precision_is_judged_in_double() -> None:
    logits, labels = random_logits(300, 10, 3.0, seed=1)
    short = logits.bfloat16()
    assert calibration(short, labels) == calibration(short.double(), labels)


def test_order_of_images_and_a_constant_added_to_an_image_change_nothing() -> None:
    logits, labels = random_logits(300, 10, 2.0, seed=2)
    logits = logits.double()
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    shifted = logits + torch.linspace(-5, 5, 300)[:, None]
    found = calibration(logits, labels)
    for other in (calibration(logits[order], labels[order]), calibration(shifted, labels)):
        assert other["ece"] == pytest.approx(found["ece"], abs=2e-6)
        assert other["nll"] == pytest.approx(found["nll"], abs=2e-6)

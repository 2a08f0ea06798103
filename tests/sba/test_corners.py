"""SBA where networks are unusual: BatchNorm with an activation, folded batches, inference mode, wrong outputs."""

import copy
from typing import Any

import pytest
import torch
from sba_cases import batch, generator, images, make, network, traces
from torch import Tensor, nn

from baselines.erm import ERM
from benchmark.runtime.torchvision import ensure_importable
from sba import SBA
from sba.joint_pass import forward_with_copies

ORIGINALS: dict[str, Any] = {"p": 1.0, "batchnorm": "originals"}


def twice(activation: Tensor) -> Tensor:
    """Virtual activations that are the originals."""
    return activation.clone()


def test_a_batchnorm_with_an_activation_of_its_own_treats_virtual_samples_alike() -> None:
    ensure_importable()
    layers = pytest.importorskip("timm.layers")
    model = nn.Sequential(nn.Conv2d(3, 6, 3), layers.BatchNormAct2d(6), nn.Flatten(), nn.Linear(6 * 36, 4))
    seen: list[Tensor] = []
    model[2].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    forward_with_copies(model, "0", images(4, 8)[0], twice, copies=1, batchnorm="originals")
    original, virtual = seen[0].chunk(2)
    torch.testing.assert_close(virtual, original)
    assert float(virtual.detach().min()) == 0  # the ReLU in it


class Folded(nn.Module):
    """Tokens are normalised as rows of (N * T, D), and before the layer there are as many tokens as 1 + copies."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.layer, self.norm = nn.BatchNorm1d(5), nn.Identity(), nn.BatchNorm1d(5)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.below(x.flatten(0, 1)).view(-1, 2, 5)
        tokens = self.layer(tokens)
        logits: Tensor = self.head(self.norm(tokens.flatten(0, 1)).view(-1, 10))
        return logits


def test_rows_of_a_folded_batch_are_told_apart_behind_the_layer_and_not_before_it() -> None:
    x, y = torch.randn(6, 2, 5, generator=generator()) * 2 + 1, torch.arange(6) % 4
    model = Folded()
    plain = copy.deepcopy(model)
    step = SBA(layers=("layer",), noise=3.0, **ORIGINALS)(model, x, y, generator=generator())
    torch.testing.assert_close(step.logits, plain(x))
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


class Uneven(nn.Module):
    """A BatchNorm behind the layer that sees one row too many."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.head = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        logits: Tensor = self.head(self.norm(torch.cat([h, h[:1]])))[:-1]
        return logits


def test_rows_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="17 rows are not 2 equal parts"):
        SBA(layers=("layer",), **ORIGINALS)(Uneven(), *batch(), generator=generator())


def test_it_works_in_inference_mode() -> None:
    with torch.inference_mode():
        inside = make()(network(), *batch(), generator=generator()).loss
    assert torch.equal(inside, make()(network(), *batch(), generator=generator()).loss.detach())


class Pair(nn.Module):
    """A model that returns two things."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x), x


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_model_that_returns_no_logits_is_named_whether_augmented_or_not(p: float) -> None:
    with pytest.raises(
        ValueError, match=r"must return logits \(\d+, classes, ...\), one tensor .* a tuple of .* Pass forward="
    ):
        SBA(layers=("layer",), p=p)(Pair(), *batch(), generator=generator())


def test_a_wrong_layer_is_found_at_the_first_call_whether_augmented_or_not() -> None:
    with pytest.raises(ValueError, match="'typo'"):
        SBA(layers=("2", "typo"), p=1.0, warmup_steps=1000)(network(), *batch(), generator=generator())


class Reshaped(nn.Module):
    """A model that takes the batch from its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(x).reshape(len(x), -1))
        return logits


def test_a_model_that_remembers_the_size_of_the_batch_is_told_which_layer_it_was() -> None:
    model = Reshaped()
    before = traces(model)
    with pytest.raises(ValueError, match="could not be widened after layer 'layer'"):
        SBA(layers=("layer",), p=1.0)(model, *batch(), generator=generator())
    assert traces(model) == before


def test_the_kl_ramp_begins_after_the_warm_up() -> None:
    sba, draws, model = make(warmup_steps=3, kl_ramp_steps=4, noise=1.0), generator(), network()
    plain = [float((sba(model, *batch(), generator=draws)).loss.detach()) for _ in range(4)]
    erm = float(ERM()(model, *batch(), generator=draws).loss.detach())
    assert plain == pytest.approx([erm] * 4, rel=1e-5)  # three without augmentation, and one with weight 0
    fifth, full = (
        float(make(noise=1.0, kl_weight=weight)(model, *batch(), generator=g).loss.detach())
        for weight, g in ((0.25, copy_of(draws)), (1.0, copy_of(draws)))
    )
    assert float(sba(model, *batch(), generator=draws).loss.detach()) == pytest.approx(fifth)
    assert full > fifth


WRONG_CALLS: dict[str, dict[str, Any]] = {
    r"^inputs must be a tensor \(N, ...\) .* or a tuple, list or dict of such tensors, got a dict\.$": {"inputs": {}},
    r"^inputs must be a tensor .* got float32 \(0, 4\)": {"inputs": torch.rand(0, 4)},
    r"^inputs must have a row for each of the 8 examples .* got a tuple of float32 \(8, 4\), int64 \(3,\)": {
        "inputs": (torch.rand(8, 4), torch.arange(3))
    },
    r"^targets must have a row for each of the 8 examples in every tensor, got int64 \(7,\)": {
        "targets": torch.zeros(7, dtype=torch.int64)
    },
    r"^targets must be class indices, int64 \(8, ...\), or probabilities, .* got int32 \(8,\)": {
        "targets": torch.zeros(8, dtype=torch.int32)
    },
    r"^targets must be class indices, .* the default criterion; others need criterion=, got a tuple": {
        "targets": (torch.arange(8), torch.arange(8))
    },
    r"^targets must be class indices \(8,\) or probabilities \(8, 4\) for logits \(8, 4\), got float32 \(8, 3\)": {
        "targets": torch.rand(8, 3)
    },
    r"^targets must be class indices \(8,\) .* got int64 \(8, 1\)": {"targets": torch.zeros(8, 1, dtype=torch.int64)},
    "^generator must be a torch.Generator of the CPU, got None": {"generator": None},
    r"^criterion must be a function of \(logits, targets\), got a str": {"criterion": "mse"},
    r"^forward must be a function of \(model, inputs\) or None, got a int": {"forward": 1},
}


@pytest.mark.parametrize("message", WRONG_CALLS)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_call_with_something_else_says_what_it_takes(message: str, p: float) -> None:
    x, y = batch()
    arguments: dict[str, Any] = {"inputs": x, "targets": y, "generator": generator(), **WRONG_CALLS[message]}
    with pytest.raises(ValueError, match=message):
        make(p=p)(network(), **arguments)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_model_with_one_logit_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"one tensor for 2 classes or more .* returned float32 \(\d+, 1\)"):
        make(p=p)(network(classes=1), batch()[0], torch.zeros(8, dtype=torch.int64), generator=generator())


class Sequence(nn.Module):
    """An LSTM, a list of layers, one layer that is used twice, and attention with a mask made from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Linear(4, 8), nn.LSTM(8, 8, batch_first=True)
        self.norm, self.twice = nn.LayerNorm(8), nn.Linear(8, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8)])
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
        h = self.twice(self.twice(self.layers[0](self.norm(self.lstm(self.embed(x))[0]))))
        logits: Tensor = self.head(self.attention(h, h, h, key_padding_mask=mask)[0].mean(1))
        return logits


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("lstm", "'lstm' must return one floating point tensor .* it returned a tuple"),
        ("twice", "'twice' is called more than once"),
        ("layers", r"'layers' is not called in a forward pass \(a ModuleList"),
        ("norm", "could not be widened after layer 'norm': .* a mask made before it"),
        ("embed", "could not be widened after layer 'embed'"),
    ],
)
def test_a_layer_that_cannot_be_widened_says_why_and_what_to_do(layer: str, message: str) -> None:
    model, x = Sequence(), torch.randn(6, 3, 4, generator=generator())
    before = traces(model)
    with pytest.raises(ValueError, match=message):
        SBA(layers=(layer,), p=1.0)(model, x, torch.arange(6) % 4, generator=generator())
    assert traces(model) == before
    SBA(layers=("attention.out_proj", "head"), p=0.0)(model, x, torch.arange(6) % 4, generator=generator())


def copy_of(draws: torch.Generator) -> torch.Generator:
    """A generator that goes on as this one would."""
    twin = torch.Generator()
    twin.set_state(draws.get_state())
    return twin


def test_dark_knowledge_of_two_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 3 classes or more, the model has 2"):
        make(soft_label="dark_knowledge")(network(classes=2), batch()[0], batch()[1] % 2, generator=generator())


def test_a_list_of_layers_becomes_a_tuple_and_each_layer_is_named_once() -> None:
    assert SBA(layers=["1", "2"]).layers == ("1", "2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layers must be different names"):
        SBA(layers=("1", "1"))
    with pytest.raises(ValueError, match="layers must be a tuple"):
        SBA(layers={"1"})  # type: ignore[arg-type]

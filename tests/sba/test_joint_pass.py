"""The joint pass: the rows that each layer gets, BatchNorm in both modes, and a network without traces afterwards."""

import copy
from collections import Counter
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from networks.sba_cases import batch, generator, gradients, image_network, images, make, network, traces
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError, checkpoint

from benchmark.runtime.torchvision import ensure_importable
from sba import SBA
from sba.call import Call
from sba.joint_pass import joint_pass


def norms(model: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]


def same_buffers(model: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(list(model.buffers()), list(other.buffers()), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mode", ["joint", "originals"])
@pytest.mark.parametrize(("p", "copies"), [(1.0, 1), (1.0, 3), (0.0, 3)])
def test_a_step_costs_one_pass_and_one_more_above_the_layer_for_each_copy(p: float, copies: int, mode: str) -> None:
    model, rows = network(norm=True), Counter[int]()
    for i, module in enumerate(model):
        module.register_forward_pre_hook(lambda _m, inputs, i=i: rows.update({i: len(inputs[0])}))
    step = make(p=p, copies=copies, batchnorm=mode)(model, *batch(), generator=generator())
    above = 8 * (1 + copies) if p else 8
    assert [rows[i] for i in range(7)] == [8] * 3 + [above] * 4
    assert (step.virtual, step.layer) == ((8 * copies, "2") if p else (0, None))


@pytest.mark.parametrize("layer", ["input", "0", "1", "2", "4", "5"])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("copies", [1, 2])
def test_with_the_originals_statistics_batchnorm_is_as_in_a_plain_pass(
    layer: str, momentum: float | None, copies: int
) -> None:
    model, (x, y) = image_network(), images()
    for norm in norms(model):
        norm.momentum = momentum
    plain = copy.deepcopy(model)
    sba = SBA(layers=(layer,), p=1.0, batchnorm="originals", copies=copies)
    for seed in range(3):  # three updates
        step = sba(model, x + seed, y, generator=generator(seed))
        torch.testing.assert_close(step.logits, plain(x + seed), atol=1e-5, rtol=1e-5)
    same_buffers(model, plain)


@pytest.mark.parametrize("whole", [True, False])
def test_batchnorm_in_evaluation_mode_stays_frozen_and_then_the_two_modes_agree(whole: bool) -> None:
    found = []
    for mode in ("joint", "originals"):
        model, (x, y) = image_network(), images()
        model(x + 1)
        for module in [model] if whole else norms(model):
            module.eval()
        before, left = [value.clone() for value in model.buffers()], traces(model)
        step = make(batchnorm=mode)(model, x, y, generator=generator())
        step.loss.backward()
        assert all(map(torch.equal, before, model.buffers()))
        assert traces(model) == left
        torch.testing.assert_close(step.logits, model(x))
        found.append([step.loss.detach(), *gradients(model)])
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-5)


def test_one_batchnorm_may_be_without_statistics_and_weights() -> None:
    model, (x, y) = image_network(), images()
    model[4] = nn.BatchNorm2d(6, affine=False, track_running_stats=False)
    plain = copy.deepcopy(model)
    step = make(layers=("0",), batchnorm="originals")(model, x, y, generator=generator())
    step.loss.backward()
    torch.testing.assert_close(step.logits, plain(x))
    same_buffers(model, plain)


def test_a_batchnorm_with_an_activation_of_its_own_treats_virtual_samples_alike() -> None:
    ensure_importable()
    layers = pytest.importorskip("timm.layers")
    model = nn.Sequential(nn.Conv2d(3, 6, 3), layers.BatchNormAct2d(6), nn.Flatten(), nn.Linear(6 * 36, 4))
    seen: list[Tensor] = []
    model[2].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    call = Call(model, *images(4, 8), generator(), F.cross_entropy, None)
    joint_pass(call, "0", torch.clone, make(batchnorm="originals"))
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


def test_rows_of_a_folded_batch_are_separated_behind_the_layer_and_not_before_it() -> None:
    x, y = torch.randn(6, 2, 5, generator=generator()) * 2 + 1, torch.arange(6) % 4
    model = Folded()
    plain = copy.deepcopy(model)
    step = make(layers=("layer",), noise=3.0, batchnorm="originals")(model, x, y, generator=generator())
    torch.testing.assert_close(step.logits, plain(x))
    same_buffers(model, plain)


class Uneven(nn.Module):
    """A BatchNorm behind the layer that sees one row too many."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.head = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        logits: Tensor = self.head(self.norm(torch.cat([h, h[:1]])))[:-1]
        return logits


def test_rows_that_cannot_be_separated_are_refused() -> None:
    with pytest.raises(ValueError, match="17 rows are not 2 equal parts"):
        make(layers=("layer",), batchnorm="originals")(Uneven(), *batch(), generator=generator())


def test_without_weights_the_running_statistics_of_batchnorm_above_change_and_no_others() -> None:
    model, (x, y) = network(norm=True), batch()
    plain = copy.deepcopy(model)
    make(kl_weight=0.0, alpha=0.0)(model, x, y, generator=generator())
    plain(x)
    equal = {name: torch.equal(value, plain.get_buffer(name)) for name, value in model.named_buffers()}
    assert [name for name in equal if not equal[name]] == ["4.running_mean", "4.running_var"]


class Segmented(nn.Module):
    """A layer, a segment of layers that is checkpointed or not, and a head."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.stem, self.head, self.reentrant = nn.Linear(4, 6), nn.Linear(6, 4), reentrant
        self.segment = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        h, segment = self.stem(x), self.segment
        h = segment(h) if self.reentrant is None else checkpoint(segment, h, use_reentrant=self.reentrant)
        logits: Tensor = self.head(h)
        return logits


@pytest.mark.parametrize(("layer", "reentrant"), [("stem", True), ("stem", False), ("segment", False)])
def test_a_layer_outside_the_checkpointed_segments_or_the_last_of_one_has_the_same_gradient(
    layer: str, reentrant: bool
) -> None:
    found, plain = [], Segmented(None)
    for kind in (None, reentrant):
        model = Segmented(kind)
        model.load_state_dict(plain.state_dict())
        make(layers=(layer,))(model, *batch(), generator=generator()).loss.backward()
        found.append(gradients(model))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("layer", "mode", "name"),
    [
        ("segment", "joint", "layer 'segment'"),
        ("segment.0", "originals", "layer 'segment.0'"),
        ("stem", "originals", "a BatchNorm that normalises virtual samples apart"),
    ],
)
def test_a_pass_that_the_backward_pass_would_repeat_without_hooks_is_refused(layer: str, mode: str, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is within torch.utils.checkpoint with use_reentrant=True"):
        make(layers=(layer,), batchnorm=mode)(Segmented(True), *batch(), generator=generator())


@pytest.mark.parametrize(("layer", "mode"), [("segment.0", "joint"), ("segment.1", "joint"), ("stem", "originals")])
def test_a_layer_within_a_segment_that_is_not_reentrant_has_no_gradient_rather_than_a_wrong_one(
    layer: str, mode: str
) -> None:
    step = make(layers=(layer,), batchnorm=mode)(Segmented(False), *batch(), generator=generator())
    with pytest.raises(CheckpointError, match=r"saved during recomputation|different metadata"):
        step.loss.backward()


@pytest.mark.parametrize("mode", ["joint", "originals"])
@pytest.mark.parametrize("layer", ["input", "2", "5"])
def test_an_exception_in_the_middle_leaves_no_trace(layer: str, mode: str) -> None:
    model, (x, y) = image_network(), images()
    before = traces(model)
    sba = make(layers=(layer,), batchnorm=mode)
    for broken in (0, 3, 8):  # below, above, and at the end
        handle = model[broken].register_forward_pre_hook(Mock(side_effect=LookupError))
        with pytest.raises(LookupError):
            sba(model, x, y, generator=generator())
        handle.remove()
        assert traces(model) == before
        assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    fresh = image_network()
    model.load_state_dict(fresh.state_dict())
    step, expected = (sba(network, x, y, generator=generator()) for network in (model, fresh))
    assert torch.equal(step.loss, expected.loss)


def test_hooks_of_others_stay_and_run() -> None:
    model, calls = network(), Counter[str]()
    model[2].register_forward_hook(lambda _m, _i, output: calls.update(after=len(output)))
    model[2].register_forward_pre_hook(lambda _m, inputs: calls.update(before=len(inputs[0])))
    make()(model, *batch(), generator=generator())
    assert calls == {"before": 8, "after": 8}
    model(batch()[0])
    assert calls == {"before": 16, "after": 16}

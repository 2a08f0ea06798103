"""BatchNorm in a joint pass and with statistics of the originals, and what each copy costs."""

import copy
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from sba_cases import batch, generator, gradients, image_network, images, look, make, network, traces
from torch import Tensor, nn

from sba import SBA


def norms(model: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]


def buffers(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.buffers()]


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
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_virtual_samples_are_normalised_among_themselves() -> None:
    model, (_, y) = network(norm=True), batch()
    twin = copy.deepcopy(model)
    seen = look(make(noise=3.0, alpha=1.0, kl_weight=0.0, batchnorm="originals"), model, batch())
    virtual = F.cross_entropy(twin[3:](seen.virtual[0]), y)
    torch.testing.assert_close(seen.step.loss, F.cross_entropy(twin[3:](seen.h), y) + virtual)


def test_in_a_joint_pass_batchnorm_sees_originals_and_virtual_samples_together() -> None:
    model, (x, _) = network(norm=True), batch()
    twin = copy.deepcopy(model)
    seen = look(make(noise=3.0, copies=2), model, batch())
    below = twin[:3](x)
    torch.testing.assert_close(seen.h, below)
    twin[3:](torch.cat([below, *seen.virtual]))
    for ours, theirs in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("mode", ["joint", "originals"])
def test_batchnorm_below_the_layer_sees_the_originals_alone(mode: str) -> None:
    model, (x, y) = network(norm=True), batch()
    plain = copy.deepcopy(model)
    make(batchnorm=mode, noise=3.0)(model, x, y, generator=generator())
    plain(x)
    assert all(torch.equal(a, b) for a, b in zip(model[1].buffers(), plain[1].buffers(), strict=True))


@pytest.mark.parametrize("whole", [True, False])
def test_batchnorm_in_evaluation_mode_stays_frozen_and_then_the_two_modes_agree(whole: bool) -> None:
    found = []
    for mode in ("joint", "originals"):
        model, (x, y) = image_network(), images()
        model(x + 1)
        for module in [model] if whole else norms(model):
            module.eval()
        before, left = buffers(model), traces(model)
        step = make(batchnorm=mode)(model, x, y, generator=generator())
        step.loss.backward()
        assert all(torch.equal(a, b) for a, b in zip(before, buffers(model), strict=True))
        assert traces(model) == left
        torch.testing.assert_close(step.logits, model(x))
        found.append([step.loss.detach(), *gradients(model)])
    for joint, apart in zip(*found, strict=True):
        torch.testing.assert_close(joint, apart, atol=1e-6, rtol=1e-5)


def test_one_frozen_batchnorm_stays_frozen_beside_others_that_learn() -> None:
    model, (x, y) = image_network(), images()
    model[4].eval()
    plain = copy.deepcopy(model)
    step = make(layers=("0",), batchnorm="originals")(model, x, y, generator=generator())
    torch.testing.assert_close(step.logits, plain(x))
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_batchnorm_without_running_statistics_or_weights_works() -> None:
    model, (x, y) = image_network(), images()
    model[4] = nn.BatchNorm2d(6, affine=False, track_running_stats=False)
    step = make(batchnorm="originals")(model, x, y, generator=generator())
    step.loss.backward()
    torch.testing.assert_close(step.logits, model(x))
    assert model[4].running_mean is None


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("mode", ["joint", "originals"])
def test_copies_cost_one_pass_below_the_layer_and_one_more_each_above(mode: str, copies: int) -> None:
    model, rows = network(norm=True), Counter[int]()
    for i, module in enumerate(model):
        module.register_forward_pre_hook(lambda _m, inputs, i=i: rows.update({i: len(inputs[0])}))
    step = make(copies=copies, batchnorm=mode)(model, *batch(), generator=generator())
    assert [rows[i] for i in range(7)] == [8] * 3 + [8 * (1 + copies)] * 4
    assert step.virtual == 8 * copies


def test_a_step_that_is_not_augmented_costs_one_pass() -> None:
    model, rows = network(), Counter[int]()
    for i, module in enumerate(model):
        module.register_forward_pre_hook(lambda _m, inputs, i=i: rows.update({i: len(inputs[0])}))
    step = make(p=0.0, copies=3)(model, *batch(), generator=generator())
    assert [rows[i] for i in range(7)] == [8] * 7
    assert (step.virtual, step.layer) == (0, None)


def test_without_weights_the_statistics_of_batchnorm_above_change_and_nothing_else() -> None:
    model, (x, y) = network(norm=True), batch()
    plain, sba = copy.deepcopy(model), make(kl_weight=0.0, alpha=0.0)
    sba(model, x, y, generator=generator())
    plain(x)
    equal = {name: torch.equal(value, plain.get_buffer(name)) for name, value in model.named_buffers()}
    assert [name for name in equal if not equal[name]] == ["4.running_mean", "4.running_var"]
    model.load_state_dict(plain.state_dict())
    for norm in [*norms(model), *norms(plain)]:
        norm.eval()  # normalising by the running statistics, the rest is plain training
    loss, expected = sba(model, x, y, generator=generator()).loss, F.cross_entropy(plain(x), y)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(gradients(model), gradients(plain), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_without_weights_and_batchnorm_it_is_plain_training_to_the_last_bit() -> None:
    outcomes = []
    for method in ("plain", "sba"):
        model, (x, y) = network(), batch()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        sba, draws, losses = make(kl_weight=0.0, alpha=0.0), generator(), []
        for _ in range(5):
            loss = F.cross_entropy(model(x), y) if method == "plain" else sba(model, x, y, generator=draws).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        outcomes.append([*losses, *model.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))

"""torch.compile: the warm-up leaves no trace, halves compute what the whole does, and every method takes them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from networks.method_cases import SETTINGS, batch, generator, network
from networks.trained import CPU, MakeRun
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from benchmark.data.load import Data
from benchmark.execution import run as one_run
from benchmark.networks import compiled
from benchmark.networks.compiled import Compiled
from benchmark.runtime.distributed import ALONE, Group
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.methods import METHODS
from benchmark.settings.names import look_up
from benchmark.training import compile as compilation
from benchmark.training.checkpoint import snapshot
from benchmark.training.compile import compiles, warm_up
from benchmark.training.loop import OnStep, train_epoch
from benchmark.training.state import State, start
from sba import SBA

# torch hides this warning of its own, but not where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let torch trace networks as ever, but run what it traced without making code; list each call of a compiled part.

    A part is named by the names of its stages; a call in which torch traces nothing is not listed.
    """
    calls: list[str] = []

    def eager(part: nn.Module) -> Any:
        def backend(graph: torch.fx.GraphModule, _inputs: object) -> Callable[..., Any]:
            def run(*inputs: Any) -> Any:
                calls.append(" ".join(name for name, _ in part.named_children()))
                return graph.forward(*inputs)

            return run

        return torch.compile(part, dynamic=False, backend=backend)

    monkeypatch.setattr(compiled, "_compiled", eager)
    with torch._dynamo.config.patch(recompile_limit=8, fail_on_recompile_limit_hit=False):  # as it is before and after
        yield calls
    torch.compiler.reset()


def everything(state: State) -> dict[str, Any]:
    """All that a checkpoint holds, in values that can be compared."""
    found: dict[str, Any] = tree_map(
        lambda value: value.tolist() if isinstance(value, Tensor) else value, snapshot(state)
    )
    return found


def test_the_warm_up_in_an_epoch_leaves_the_state_as_it_was(traced: list[str], make_run: MakeRun, digits: Data) -> None:
    run = make_run("sba")
    state = start(run, digits, CPU)

    def leave(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        train_epoch(run, state, digits.train, [OnStep(leave)])
    before = everything(state)
    assert before["position"]
    assert warm_up(run, state, digits.train) > 0
    assert everything(state) == before
    assert len(traced) >= compilation.WARM_UP_STEPS
    assert {"normalize stem block1 block2 head", "head"} < set(traced)


def test_a_training_is_the_same_compiled_or_not(traced: list[str], make_run: MakeRun, digits: Data) -> None:
    run = make_run("sba")
    plain, compiled_state = start(run, digits, CPU), start(run, digits, CPU)
    warm_up(run, compiled_state, digits.train)
    assert everything(compiled_state) == everything(plain)
    traced.clear()
    epochs = [train_epoch(run, state, digits.train) for state in (plain, compiled_state)]
    assert epochs[1]["train_loss"] == pytest.approx(epochs[0]["train_loss"], rel=1e-5)
    assert plain.virtual == compiled_state.virtual != {}
    for one, other in zip(plain.model.parameters(), compiled_state.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    augmented = round(epochs[0]["augmented"] * 4)
    assert len(traced) == 4 + augmented  # a call a step, and one more where a step is cut into halves


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_computes_the_same_with_halves(name: str) -> None:
    method = look_up(name, METHODS)(**SETTINGS.get(name, {}))
    losses, gradients = [], []
    for model, called in ((plain := network(), plain), (whole := network(), Compiled(whole))):
        draws = generator(3)
        steps = [method(called, *batch(), generator=draws).loss for _ in range(4)]
        torch.stack(steps).sum().backward()
        losses.append(torch.stack(steps).detach())
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert torch.allclose(losses[0], losses[1], rtol=1e-6)
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_augmented_steps_run_compiled_at_every_layer_of_a_sequential_network(traced: list[str]) -> None:
    model = Compiled(network())
    for layer in ("input", "1", "3"):
        traced.clear()
        SBA(layers=(layer,), p=1.0)(model, *batch(), generator=generator())
        assert len(traced) == (1 if layer == "input" else 2)


def test_more_parts_than_torch_keeps_by_itself_stay_compiled(
    traced: list[str], make_run: MakeRun, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "WARM_UP_STEPS", 1)
    run = make_run("erm")
    warm_up(run, start(run, digits, CPU), digits.train)
    deep = Compiled(nn.Sequential(nn.Flatten(), *(nn.Linear(108, 108) for _ in range(6)), nn.Linear(108, 4)))
    for layer in range(6):  # 12 parts; torch keeps 8
        traced.clear()
        SBA(layers=(str(layer),), p=1.0)(deep, *batch(), generator=generator())
        assert len(traced) == 2


def test_a_layer_inside_a_stage_is_reached_by_a_hook(traced: list[str]) -> None:
    inner = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(108, 8)), nn.Linear(8, 4))
    assert Compiled(inner).below_and_above("0.1") is None
    step = SBA(layers=("0.1",), p=1.0)(Compiled(inner), *batch(), generator=generator())
    assert step.virtual == 16
    assert not traced


def test_separate_batchnorm_needs_hooks_and_gets_them(traced: list[str]) -> None:
    method = SBA(layers=("1",), p=1.0, batchnorm="originals")
    steps = [method(model, *batch(), generator=generator()) for model in (network(), Compiled(network()))]
    assert torch.equal(steps[0].loss, steps[1].loss)
    assert not traced


def test_what_is_compiled_and_what_is_not() -> None:
    recipe = load_preset("cifar10_gpu").recipe
    cuda, two = torch.device("cuda"), Group(0, 2)
    assert compiles(recipe, cuda)
    assert not compiles(recipe, CPU)
    assert not compiles(recipe, cuda, two)
    assert not compiles(recipe.model_copy(update={"compile": False}), cuda)


def test_a_network_that_cannot_be_compiled_ends_in_a_message(
    make_run: MakeRun, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_graph: object, _inputs: object) -> Any:
        raise RuntimeError("Cannot find a working triton installation")

    monkeypatch.setattr(compiled, "_compiled", lambda part: torch.compile(part, backend=broken))
    run = make_run("erm")
    with pytest.raises(UsageError, match=r"recipe\.compile: .*small.* here \(.*triton installation.*compile=false"):
        warm_up(run, start(run, digits, CPU), digits.train)
    torch.compiler.reset()


@pytest.mark.usefixtures("traced", "fresh")
def test_a_run_says_how_long_compiling_took(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from studies.tiny_study import run as run_study

    asked: list[tuple[str, int]] = []

    def always(_recipe: object, device: torch.device, group: Group) -> bool:
        asked.append((device.type, group.size))
        return True

    monkeypatch.setattr(one_run, "compiles", always)
    one_attack = ('--set=evaluation.attacks=[{name = "apgd_dlr", steps = 1}]', "--set=evaluation.eps=[16.0]")
    assert run_study("--arms", "erm", "--seeds", "0", *one_attack) == 0
    assert asked == [("cpu", ALONE.size)]
    assert "torch.compile took" in capsys.readouterr().out

"""SBA on wrapped networks: torch.compile, and DistributedDataParallel with two processes."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
import two_processes
from process_groups import in_process_group
from sba_cases import batch, generator, gradients, image_network, images, make, network
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from sba import SBA, method


class Counting:
    """A backend that runs the graph as it is, and counts the compilations."""

    def __init__(self) -> None:
        self.compilations = 0

    def __call__(self, graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Any:
        self.compilations += 1
        return graph.forward


@pytest.mark.parametrize("settings", [{}, {"batchnorm": "originals", "copies": 2}, {"gradient_below": False}])
def test_a_compiled_network_follows_every_change_and_stops_compiling(settings: dict[str, Any]) -> None:
    torch._dynamo.reset()
    model, (x, y), backend = image_network(), images(), Counting()
    eager, compiled = copy.deepcopy(model), cast("nn.Module", torch.compile(model, backend=backend))
    ours = make(layers=("input", "2", "5"), p=0.75, **settings)
    theirs = copy.deepcopy(ours)
    ours.check(compiled)
    draws, expected_draws, counts, layers = generator(), generator(), [], []
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for _ in range(40):
            step, expected = ours(compiled, x, y, generator=draws), theirs(eager, x, y, generator=expected_draws)
            (step.loss / 40).backward()
            (expected.loss / 40).backward()
            torch.testing.assert_close(step.loss, expected.loss, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(step.logits, expected.logits, atol=1e-5, rtol=1e-5)
            assert (step.layer, step.virtual) == (expected.layer, expected.virtual)
            counts.append(backend.compilations)
            layers.append(step.layer)
    torch._dynamo.reset()
    assert min(Counter(layers[:20]).values()) >= 2
    assert len(set(layers[:20])) == len(set(layers[20:])) == 4
    assert counts[-1] > 0, "nothing was compiled"
    assert counts[-1] == counts[19], "it goes on compiling"
    for one, other in zip(gradients(model), gradients(eager), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    for one, other in zip(model.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_with_two_processes_gradients_are_the_mean_of_what_each_would_have_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn(two_processes.work, (str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)]
    layers = set()
    for name, (settings, seeds) in two_processes.CASES.items():
        alone = []
        for rank, seed in enumerate(seeds):
            model = network()
            monkeypatch.setattr(method, "process_rank", lambda rank=rank: rank)
            step = make(**settings)(model, *two_processes.half(rank), generator=generator(seed))
            step.loss.backward()
            alone.append(gradients(model))
            layers.add(step.layer)
            assert ranks[rank][name]["layer"] == (step.layer or "none"), name
            assert ranks[rank][name]["clean"], f"{name}: something is left on the modules"
        for first, second, *parts in zip(*(found[name]["gradients"] for found in ranks), *alone, strict=True):
            assert torch.equal(first, second), f"{name}: the ranks differ"
            torch.testing.assert_close(first, sum(parts) / 2, atol=1e-6, rtol=1e-5, msg=name)
    assert len(layers) >= 3, layers
    joint = network()
    F.cross_entropy(joint(batch(8)[0]), batch(8)[1]).backward()
    for one, other in zip(ranks[0]["not augmented"]["gradients"], gradients(joint), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_wrappers_need_no_prefix_whatever_their_order(tmp_path: Path) -> None:
    def work() -> None:
        model = network()
        wrapped: list[Any] = [DistributedDataParallel(model), torch.compile(model, backend="eager")]
        wrapped += [torch.compile(wrapped[0], backend="eager"), DistributedDataParallel(wrapped[1])]
        for outer in wrapped:
            SBA(layers=("input", "2")).check(outer)
            with pytest.raises(ValueError, match="'22'"):
                SBA(layers=("22",)).check(outer)

    in_process_group(tmp_path, work)


def test_processes_seeded_alike_decide_alike_and_draw_noise_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sba, data = make(layers=("input", "2", "5"), p=0.5), batch()
    steps: list[list[Any]] = []
    for rank in (0, 1):
        monkeypatch.setattr(method, "process_rank", lambda rank=rank: rank)
        draws = generator()
        steps.append([sba(network(), *data, generator=draws) for _ in range(20)])
    assert [step.layer for step in steps[0]] == [step.layer for step in steps[1]]
    same = [torch.equal(one.loss, other.loss) for one, other in zip(*steps, strict=True)]
    assert same == [step.virtual == 0 for step in steps[0]]


def test_data_parallel_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="use DistributedDataParallel"):
        SBA(layers=("2",)).check(nn.DataParallel(network()))

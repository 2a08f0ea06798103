"""Every method under DistributedDataParallel: two processes take the steps that one takes with the whole batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
import two_processes
from once import once
from process_groups import in_process_group
from sba_cases import generator
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from two_processes import CASES, METHODS, NORMS, PAIRING, network

from baselines.augment import crop_and_flip
from benchmark.networks.sync_batchnorm import SyncBatchNorm, synchronised
from sba.processes import ALONE, Processes, processes_of
from sba.vicinity import _normal, _uniform

pytestmark = pytest.mark.slow
Found = tuple[dict[Any, Any], dict[Any, Any]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Return the results of each of the two processes."""
    folder = once(tmp_path_factory, "ranks", lambda empty: spawn(two_processes.work, (str(empty),), nprocs=2))
    first, second = (torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    return first, second


def test_every_method_takes_the_steps_of_one_process_with_the_whole_batch(ranks: Found) -> None:
    for name in CASES:
        alone, pair = two_processes.take_steps(name, network()), [rank[name] for rank in ranks]
        assert [rank["layers"] for rank in pair] == [alone["layers"]] * 2, name
        assert all(torch.equal(rank["draws"], alone["draws"]) for rank in pair), name
        assert all(rank["clean"] for rank in pair), f"{name}: hooks or attributes are left on the modules"
        losses = (pair[0]["losses"] + pair[1]["losses"]) / 2
        torch.testing.assert_close(losses, alone["losses"], atol=1e-5, rtol=0, msg=name)
        logits = torch.cat([rank["logits"] for rank in pair], dim=1)
        torch.testing.assert_close(logits, alone["logits"], atol=1e-5, rtol=0, msg=name)
        for key, value in alone["weights"].items():
            assert torch.equal(pair[0]["weights"][key], pair[1]["weights"][key]), f"{name}: the ranks differ in {key}"
            torch.testing.assert_close(pair[0]["weights"][key], value, atol=1e-5, rtol=1e-5, msg=f"{name}: {key}")


def test_the_cases_augment_behind_all_layers_and_the_ranks_hold_other_rows(ranks: Found) -> None:
    assert set(ranks[0]["sba"]["layers"]) == {"input", "2", "5", "None"}
    assert set(ranks[0]["sba: every second"]["layers"]) == {"2", "5", "None"}
    assert all(not torch.equal(ranks[0][name]["losses"], ranks[1][name]["losses"]) for name in CASES)


@pytest.mark.parametrize("name", PAIRING)
def test_the_gradient_through_partners_in_the_other_process_is_that_of_the_whole_batch(ranks: Found, name: str) -> None:
    alone = two_processes.first_gradients(name, network(norm=False))
    for rank in ranks:
        for ours, whole in zip(rank["gradients", name], alone, strict=True):
            torch.testing.assert_close(ours, whole, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("last", [False, True])
def test_gathered_rows_pass_the_exact_gradient(ranks: Found, last: bool) -> None:
    loss, gradient = two_processes.gathered(ALONE, None, last)
    of_ranks = [rank["gathered", last] for rank in ranks]
    torch.testing.assert_close((of_ranks[0][0] + of_ranks[1][0]) / 2, loss, atol=1e-12, rtol=0)
    # DistributedDataParallel would take the mean over the two processes.
    torch.testing.assert_close(torch.cat([part[1] for part in of_ranks]) / 2, gradient, atol=1e-12, rtol=0)


def test_generators_and_batches_that_differ_are_refused_in_every_process(ranks: Found) -> None:
    draws_nothing = {"erm", "label_smoothing"}
    for name in METHODS.keys() - draws_nothing:
        for rank in ranks:
            assert "seed it alike in every process" in rank["refusals"][f"{name}: generator"]
            assert rank["refusals"][f"{name}: images"].startswith("inputs: the processes hold 4, 5 rows;")
    refused = {name.partition(":")[0] for rank in ranks for name in rank["refusals"]}
    assert refused == METHODS.keys() - draws_nothing


def test_agreement_is_checked_at_the_first_step_alone(ranks: Found) -> None:
    assert [rank["checks", name] for rank in ranks for name in ("sba", "mixup")] == [1] * 4


@pytest.mark.parametrize("where", ["unwrapped", "alone in its group"])
@pytest.mark.parametrize("name", PAIRING)
def test_a_network_that_shares_no_batch_takes_the_steps_of_one_process(ranks: Found, name: str, where: str) -> None:
    alone = two_processes.take_steps(name, network(norm=False), steps=2)
    for rank in ranks:
        torch.testing.assert_close(rank[where, name]["losses"], alone["losses"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["FSDP1", "FSDP2"])
def test_a_sharded_network_takes_the_steps_of_one_process_with_the_whole_batch(ranks: Found, kind: str) -> None:
    alone, pair = two_processes.sharded_steps(two_processes.blocks()), [rank[kind] for rank in ranks]
    assert [rank["layers"] for rank in pair] == [alone["layers"]] * 2
    assert {"input", "0", "1.0", "1"} <= set(alone["layers"])
    assert all(rank["clean"] for rank in pair), "hooks are left on the modules"
    torch.testing.assert_close((pair[0]["losses"] + pair[1]["losses"]) / 2, alone["losses"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NORMS)
def test_synchronised_batchnorm_is_batchnorm_of_the_whole_batch(ranks: Found, name: str) -> None:
    whole, pair = two_processes.normalised(name, NORMS[name][0]), [rank["norm", name] for rank in ranks]
    evaluated_apart = name == "without running statistics"  # as with torch's, which does not communicate then
    for part in ("outputs", "of_inputs"):
        found = [torch.cat(rows) for rows in zip(*(rank[part] for rank in pair), strict=True)]
        for ours, theirs in list(zip(found, whole[part], strict=True))[: 2 if evaluated_apart else 3]:
            torch.testing.assert_close(ours, theirs, atol=1e-4 if part == "of_inputs" else 2e-6, rtol=1e-5)
    for rank in pair:
        for ours, theirs in zip(rank["kept"], whole["kept"], strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    if not evaluated_apart:
        for first, second, theirs in zip(*(rank["of_weights"] for rank in pair), whole["of_weights"], strict=True):
            torch.testing.assert_close(first + second, theirs, atol=1e-4, rtol=1e-5)


def test_synchronised_keeps_weights_and_without_a_group_it_is_batchnorm_to_the_last_bit(tmp_path: Path) -> None:
    plain, other = network(), network()
    weights = list(other.parameters())
    assert synchronised(other) is other
    assert [type(other[i]) for i in (1, 4)] == [SyncBatchNorm] * 2
    assert all(a is b for a, b in zip(weights, other.parameters(), strict=True))
    assert list(other.state_dict()) == list(plain.state_dict())
    images, _ = two_processes.batch(0, 6)
    assert torch.equal(plain(images), other(images))
    in_process_group(tmp_path, lambda: torch.testing.assert_close(other(images), plain(images), atol=0, rtol=0))
    assert torch.equal(plain.eval()(images), other.eval()(images))
    assert type(synchronised(nn.BatchNorm1d(3))) is SyncBatchNorm


def whole_noise(rows: int, copies: int, shape: tuple[int, ...], size: int) -> tuple[Tensor, Tensor]:
    """Return the noise that one process draws, and the joined noise of `size` processes."""
    one = _normal(torch.empty(copies * rows * size, *shape), copies, 5, ALONE)
    each = [_normal(torch.empty(copies * rows, *shape), copies, 5, Processes(rank, size)) for rank in range(size)]
    return one, torch.cat([part for copy in range(copies) for rank in each for part in [rank.chunk(copies)[copy]]])


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("copies", [1, 2, 3])
@pytest.mark.parametrize(("rows", "shape"), [(1, (1,)), (1, (3,)), (2, (5, 7, 7)), (3, (11, 2)), (5, (8, 41, 41))])
def test_processes_draw_their_rows_of_the_noise_of_the_whole_batch(
    rows: int, shape: tuple[int, ...], copies: int, size: int
) -> None:
    assert torch.equal(*whole_noise(rows, copies, shape, size))


def test_a_process_draws_little_more_than_its_own_part_of_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda n, **named: drawn.append(n) or randn(n, **named))  # type: ignore[func-returns-value]
    for rank in range(4):
        _normal(torch.empty(8, 3, 224, 224), 2, 5, Processes(rank, 4))
    assert sum(drawn) < 1.5 * 4 * 8 * 3 * 224 * 224


def test_uniform_draws_are_rows_of_those_of_the_whole_batch() -> None:
    whole = _uniform(torch.empty(12, 3), 2, generator(), ALONE).view(2, 3, 2)
    for rank in range(3):
        mine = _uniform(torch.empty(4, 3), 2, generator(), Processes(rank, 3)).view(2, 2)
        assert torch.equal(mine, whole[:, rank])


def test_crops_are_rows_of_those_of_the_whole_batch() -> None:
    images = torch.rand(6, 3, 8, 8, generator=generator())
    whole = crop_and_flip(images, padding=3, flip=True, generator=generator(1))
    for rank, part in enumerate(images.chunk(3)):
        of_rank = Processes(rank, 3)
        mine = crop_and_flip(part, padding=3, flip=True, generator=generator(1), processes=of_rank)
        assert torch.equal(mine, whole.chunk(3)[rank])


def test_the_wrapper_is_found_within_and_around_a_compiled_network(tmp_path: Path) -> None:
    def work() -> None:
        model = network()
        parallel = DistributedDataParallel(model)
        compiled: Any = torch.compile(model, backend="eager")
        wrappers: list[Any] = [parallel, torch.compile(parallel, backend="eager"), DistributedDataParallel(compiled)]
        for wrapped in wrappers:
            assert processes_of(wrapped, torch.rand(2, 3, 7, 7), generator())[:2] == (0, 1)
            assert processes_of(wrapped, torch.rand(2, 3, 7, 7), generator()).group is not None
        for bare in (model, compiled):
            assert processes_of(bare, torch.rand(2, 3, 7, 7), generator()) == ALONE

    in_process_group(tmp_path, work)

"""Rows of one process among several: its draws are those of the whole batch, and wrappers are found by themselves."""

from pathlib import Path
from typing import Any

import pytest
import torch
from networks.sba_cases import generator
from processes import two_processes
from processes.process_groups import in_process_group
from processes.two_processes import network
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from baselines.augment import crop_and_flip
from benchmark.networks.sync_batchnorm import SyncBatchNorm, synchronised
from sba.processes import ALONE, Processes, processes_of
from sba.vicinity import _normal, _uniform


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

"""What each of two processes does in the test of DistributedDataParallel; importable by both."""

from pathlib import Path
from typing import Any

import torch
from process_groups import in_process_group
from sba_cases import batch, generator, gradients, make, network, traces
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

# name of the case -> settings, and the seed of each rank's generator
CASES: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "not augmented": ({"p": 0.0}, (1, 2)),
    "other noise on each rank": ({"p": 1.0, "alpha": 1.0}, (1, 2)),
    "other layers on each rank": ({"p": 0.5, "layers": ("input", "2", "5")}, (12, 10)),
    "another decision on each rank": ({"p": 0.5, "layers": ("input", "2", "5"), "gradient_below": False}, (3, 1)),
}


def half(rank: int) -> tuple[Tensor, Tensor]:
    """Give this rank's half of the joint batch of 8."""
    x, y = batch(8)
    return x[4 * rank : 4 * rank + 4], y[4 * rank : 4 * rank + 4]


def work(rank: int, folder: str) -> None:
    """Take one step of each case, and save what it gave to a file of this rank."""
    torch.set_num_threads(1)

    def cases() -> None:
        model = network()
        parallel = DistributedDataParallel(model)
        found = {}
        for name, (settings, seeds) in CASES.items():
            sba = make(**settings)
            sba.check(parallel)
            before = traces(parallel)
            step = sba(parallel, *half(rank), generator=generator(seeds[rank]))
            step.loss.backward()
            layer = "none" if step.layer is None else step.layer
            found[name] = {"gradients": gradients(model), "layer": layer, "clean": traces(parallel) == before}
        torch.save(found, Path(folder) / f"rank-{rank}.pt")

    in_process_group(Path(folder), cases, rank, processes=2)

"""A program with two workers, for test_workers.py: prints their process ids, then takes a batch now and then."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

import torch
from torch.utils.data import Dataset

from benchmark.data.workers import prepared
from benchmark.runtime.signals import Stopped, stoppable

kept: list[Iterator[int]] = []


class Slow(Dataset[int]):
    """Takes a while for each batch."""

    def __getitem__(self, indices: list[int]) -> int:
        time.sleep(0.02)
        return indices[0]


def main(ending: str) -> int:
    """Take batches until a signal comes.

    `ending` "open" leaves the iterator to the end of the interpreter; "early" has workers that need a second to start,
    and waits for nothing but a signal.
    """
    if ending == "early":
        os.register_at_fork(after_in_child=lambda: time.sleep(1))
    with stoppable() as stop:
        batches = prepared(Slow(), torch.arange(100_000).reshape(-1, 1), 2, pin_memory=False)
        if ending == "open":
            kept.append(batches)
        if ending != "early":
            next(batches)
        try:
            with stop.gently():
                print(*(child.pid for child in multiprocessing.active_children()), flush=True)
                if ending == "open":
                    return 0
                for _ in batches:
                    stop()
        except Stopped as stopped:
            # What comes after the signal still needs the workers.
            print(sum(1 for _, _ in zip(range(20), batches, strict=False)), flush=True)
            return stopped.exit_code
    raise AssertionError("no signal came")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

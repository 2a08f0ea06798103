"""Work inside a torch.distributed process group of the tests."""

import gc
from collections.abc import Callable
from pathlib import Path

from torch import distributed


def in_process_group(folder: Path, work: Callable[[], None], rank: int = 0, processes: int = 1) -> None:
    """Call `work` inside a gloo group that meets in `folder`, and end the group.

    Whatever `work` wrapped in DistributedDataParallel must be gone before the group ends, which is why it is a function
    of its own: a wrapper that outlives its group waits in its destructor, with the interpreter's lock held, for gloo's
    thread, and that thread may wait for the lock (https://github.com/pytorch/pytorch/issues/56297). The test then hangs
    once in a few thousand times.
    """
    store = (folder / "store").as_uri()
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=processes)
    try:
        work()
        gc.collect()  # a wrapper may be part of a cycle
    finally:
        distributed.destroy_process_group()

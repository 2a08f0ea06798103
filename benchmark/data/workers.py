"""Worker processes that prepare batches in advance; they leave signals to the main process and end with it."""

import functools
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

HAS_SIGTIMEDWAIT = hasattr(signal, "sigtimedwait")  # not on macOS
SIGNALS = {signal.SIGINT, signal.SIGTERM} if HAS_SIGTIMEDWAIT else {signal.SIGINT}
POLL = 1.0  # seconds between checks that the parent is alive

Prepared = TypeVar("Prepared")


def prepared(dataset: Dataset[Prepared], rows: Iterable[Tensor], workers: int, pin_memory: bool) -> Iterator[Prepared]:
    """Return an iterator over dataset[row] for each row of indices, in order, prepared in advance by N workers.

    The workers, one thread each, end when nothing refers to the iterator any more, or when this process ends. The
    global random generator is not used.

    Args:
        dataset: its `__getitem__` takes a list of indices.
        rows: (B,) int64 indices of each batch.
        workers: number of processes; 0: the iterator itself does the work.
        pin_memory: copy tensors into page-locked memory, for a GPU.
    """
    loader: DataLoader[Prepared] = DataLoader(
        dataset,
        batch_size=None,
        sampler=[row.tolist() for row in rows],
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        worker_init_fn=functools.partial(_start_worker, os.getpid()),
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,  # starts without pickling
        generator=torch.Generator(),  # by default it draws from the global one
    )
    with _signals_blocked():
        return iter(loader)


def _as_it_is(batch: Prepared) -> Prepared:
    return batch


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block SIGINT and SIGTERM; workers started in the block inherit that, as the main process handles signals."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(parent: int, _number: int) -> None:
    warnings.filterwarnings("ignore", module="PIL")  # about odd EXIF entries, in every epoch
    if HAS_SIGTIMEDWAIT:
        threading.Thread(target=_obey, args=[parent], daemon=True).start()


def _obey(parent: int) -> None:
    """End this worker on a SIGTERM sent by its parent (one sent to the group is the parent's to handle) or when the
    parent has ended, which the loader itself misses if it happens before the worker has started.
    """
    while os.getppid() == parent:
        came = signal.sigtimedwait({signal.SIGTERM}, POLL)
        if came and came.si_pid == parent:
            break
    os._exit(0)

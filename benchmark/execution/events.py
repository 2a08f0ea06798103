"""TensorBoard: what is recorded of every epoch, written as the training goes on, where the user asks for it."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.records.schema import Epoch
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run

SCALARS = ("train_loss", "accuracy", "learning_rate", "images_per_second", "augmented")


def refuse_without_tensorboard() -> None:
    """Raise UsageError where the package is missing that writes event files."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError("--tensorboard needs the package tensorboard: python -m pip install tensorboard")


@contextmanager
def event_log(run: Run, folder: Path | None, done: int) -> Iterator[Callable[[Epoch], None]]:
    """Give a function that writes an epoch's scalars to folder/<preset>/<arm>/seed-<n>, or nowhere without a folder.

    Args:
        run: the run that trains.
        folder: where TensorBoard is pointed at (`tensorboard --logdir`), or None.
        done: epochs finished before; what an earlier, interrupted start wrote of later ones is hidden.
    """
    if folder is None:
        yield lambda _epoch: None
        return
    from torch.utils.tensorboard import SummaryWriter  # optional, and slow to import

    with SummaryWriter(str(run.path(folder, "")), purge_step=done + 1) as writer:

        def log(epoch: Epoch) -> None:
            for name in SCALARS:
                writer.add_scalar(name, dict(epoch)[name], epoch["epoch"])
            writer.flush()

        yield log

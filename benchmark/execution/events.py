"""TensorBoard event files of each epoch, where the user asks for them."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.records.schema import Epoch
from benchmark.runtime.console import print_line
from benchmark.runtime.errors import UsageError
from benchmark.training.loop import Callback

SCALARS = ("train_loss", "accuracy", "learning_rate", "images_per_second", "augmented")


def refuse_without_tensorboard() -> None:
    """Raise UsageError if the package tensorboard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError("--tensorboard needs the package tensorboard: python -m pip install tensorboard")


class TensorBoard(Callback):
    """Writes each epoch's scalars to a folder that `tensorboard --logdir` finds; if it cannot, the run continues.

    Args:
        folder: of the run.
        done: epochs finished before; later ones written by an earlier, interrupted start are hidden.
    """

    def __init__(self, folder: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # optional, and slow to import

        self.folder = folder
        self.writer: SummaryWriter | None = None
        with self._lenient():
            self.writer = SummaryWriter(str(folder), purge_step=done + 1)

    def on_epoch(self, epoch: Epoch, _share: float) -> None:
        """Write the scalars of an epoch."""
        with self._lenient():
            if self.writer is not None:
                for name in SCALARS:
                    self.writer.add_scalar(name, dict(epoch)[name], epoch["epoch"])
                self.writer.flush()

    def close(self) -> None:
        """Write buffered scalars."""
        with self._lenient():
            if self.writer is not None:
                self.writer.close()

    @contextmanager
    def _lenient(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.writer = None
            print_line(f"TensorBoard's files in {self.folder} cannot be written ({error.strerror or error}).")

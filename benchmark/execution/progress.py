"""What is seen of a run: a bar in a terminal, lines elsewhere, its log beside its checkpoint, TensorBoard's files.

None of these is a part of the run, which goes on where they cannot be written.
"""

import importlib.util
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmark.records.schema import Epoch
from benchmark.runtime.console import LINE_SECONDS, Bar, duration, print_line, printable
from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import refuse_irregular
from benchmark.settings.plan import Run
from benchmark.training.loop import Callback

TAIL = 20  # lines in error messages
TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ ")  # before each text of a log
SCALARS = ("train_loss", "accuracy", "learning_rate", "images_per_second", "augmented")


def evaluation_bar(label: str) -> closing[Bar]:
    """Return the bar, in percent, of an evaluation without a run, as a context."""
    return closing(Bar(label, LINE_SECONDS, total=100, bar_format="{desc}: {percentage:.0f}%|{bar:20}|{postfix}"))


class Attacking:
    """Shows an evaluation: the current attack, the images left and the time left.

    Args:
        bar: of the run, or `evaluation_bar`.
        moves: whether the bar shows the share of the evaluation.
    """

    def __init__(self, bar: Bar, moves: bool = False) -> None:
        self.bar, self.moves, self.began = bar, moves, 0.0

    def __call__(self, text: str, share: float) -> None:
        """Show a text, after the given share of the evaluation, in [0, 1]."""
        now = time.monotonic()
        self.began = self.began or now
        spent = now - self.began
        left = f", about {duration(spent / share * (1 - share))} left" if share > 0 and spent > 1 else ""
        done = int(100 * share) - self.bar.tqdm.n if self.moves else 0
        self.bar.advance(done, f"attacking: {text}{left}")
        self.bar.line_if_due(f"attacking, {share:.0%} done: {text}{left}")


class Progress(Callback):
    """Shows one run: arm, seed, epoch, loss, accuracy, images/s and the time left of its training.

    In a terminal one bar moves with the steps; elsewhere each finished epoch is a line.

    Args:
        run: the run shown.
        steps: optimizer steps of an epoch.
        label: names the run.
        log: called with every line.
    """

    def __init__(self, run: Run, steps: int, label: str, log: Callable[[str], object]) -> None:
        self.log = log
        self.of = "" if run.preset.compute else f"/{run.epochs}"  # unknown in compute mode
        self.steps, self.batch = steps, run.preset.recipe.batch_size
        total = run.epochs * steps * self.batch
        self.bar = Bar(label, LINE_SECONDS, total=total, unit=" images", unit_scale=True, smoothing=0.05)
        self.began, self.share_before = time.monotonic(), 0.0
        self.attacking = Attacking(self.bar)

    def resume(self, epochs: int, steps: int, share: float) -> None:
        """Start after the epochs and steps, a share of the training in [0, 1], of earlier starts."""
        self.share_before = share
        self.bar.advance((epochs * self.steps + steps) * self.batch)
        self.line(f"resuming after epoch {epochs}{self.of}" + (f" and {steps} steps of the next" if steps else ""))

    def on_step(self, _steps: int) -> None:
        """Advance the bar."""
        self.bar.advance(self.batch)

    def on_epoch(self, epoch: Epoch, share: float) -> None:
        """Show a finished epoch, after a share of the training, in [0, 1]."""
        number, spent = f"{epoch['epoch']}{self.of}", time.monotonic() - self.began
        shown = f"loss {epoch['train_loss']:.3f}, accuracy {epoch['accuracy']:.2%}"
        self.bar.advance(0, f"epoch {number}, {shown}")
        gained = share - self.share_before  # 0 where only the end of the epoch was left
        left = f", {duration(spent / gained * (1 - share))} of training left" if gained > 0 else ""
        text = f"epoch {number}, {shown}, {epoch['images_per_second']:,.0f} images/s{left}"
        self.log(text)
        if self.bar.hidden:
            self.bar.line(text)

    def line(self, text: str) -> None:
        """Print and log a line."""
        self.log(text)
        self.bar.line(text)


class Log:
    """Appends to a run's log; if it cannot be written, one line is printed."""

    def __init__(self, path: Path) -> None:
        self.path, self.works = path, True

    def __call__(self, text: str) -> None:
        """Append a text of one or more lines."""
        if not self.works:
            return
        try:
            refuse_irregular(self.path)  # a pipe would block
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ} {printable(text)}\n")
        except OSError as error:
            self.works = False
            print_line(
                f"The log {self.path} cannot be written ({error.strerror or error}); its run goes on without it."
            )


def log_tail(path: Path) -> str:
    """Return the last lines of a log, indented; empty if there is no log."""
    return "".join(f"\n    {line}" for line in log_lines(path)[-TAIL:])


def log_lines(path: Path) -> list[str]:
    """Return the lines of a log; none if there is no log."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


class LogReader:
    """Reads a log that another process appends to, from its present end on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = path.stat().st_size if path.is_file() else 0

    def added(self) -> list[str]:
        """Return the complete lines added since the last call, without their times."""
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self.offset += len(whole)
        return [TIME.sub("", line) for line in whole.decode("utf-8", "replace").splitlines()]


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

"""The progress of one run: a bar in a terminal, lines elsewhere and in its log."""

import time
from collections.abc import Callable

from benchmark.records.schema import Epoch
from benchmark.runtime.console import LINE_SECONDS, Bar, duration
from benchmark.settings.plan import Run
from benchmark.training.loop import Callback


def evaluation_bar(label: str) -> Bar:
    """Return the bar, in percent, of an evaluation without a run."""
    return Bar(label, LINE_SECONDS, total=100, bar_format="{desc}: {percentage:.0f}%|{bar:20}|{postfix}")


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

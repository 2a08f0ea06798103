"""Progress: a bar in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tqdm import tqdm

from benchmark.records.schema import Epoch
from benchmark.runtime.console import duration, print_line
from benchmark.settings.plan import Run

LINE_SECONDS = 30.0


def own_bar(label: str) -> "tqdm[Any]":
    """Return a bar of 100 parts with a text, where there is a terminal."""
    look = "{desc}: {percentage:.0f}%|{bar:20}|{postfix}"
    hidden = not sys.stderr.isatty()
    return tqdm(total=100, desc=label, disable=hidden, leave=False, dynamic_ncols=True, bar_format=look)


class Attacking:
    """Shows an evaluation: what it is doing, the images left and the time left.

    In a terminal it is the text of a bar, at every batch of images; elsewhere a line each half minute.

    Args:
        label: names the network.
        bar: the bar of its run; without one it has its own.
    """

    def __init__(self, label: str, bar: "tqdm[Any] | None" = None) -> None:
        self.label = label
        self.own = bar is None
        self.bar = bar if bar is not None else own_bar(label)
        self.began, self.printed = 0.0, time.monotonic()

    def __enter__(self) -> "Attacking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def __call__(self, text: str, share: float) -> None:
        """Show what is being done, when the given share of the evaluation, in [0, 1], is over."""
        now = time.monotonic()
        self.began = self.began or now
        spent = now - self.began
        left = f", about {duration(spent / share * (1 - share))} left" if share > 0 and spent > 1 else ""
        if self.own:
            self.bar.update(int(100 * share) - self.bar.n)
        self.bar.set_postfix_str(f"attacking: {text}{left}")
        if self.bar.disable and now - self.printed > LINE_SECONDS:
            self.printed = now
            print_line(f"{self.label}: attacking, {share:.0%} done: {text}{left}")


class Progress:
    """Shows one run: arm, seed, epoch, loss, accuracy, images/s and the time left of its training.

    In a terminal one bar moves with the steps; elsewhere each finished epoch is a line. The log has the lines anyway.

    Args:
        run: the run shown.
        steps: optimizer steps of an epoch.
        label: names the run.
        log: is given every line.
    """

    def __init__(self, run: Run, steps: int, label: str, log: Callable[[str], object]) -> None:
        self.label, self.log = label, log
        self.of = "" if run.preset.compute else f"/{run.epochs}"  # in compute mode nobody knows how many
        self.steps, self.batch = steps, run.preset.recipe.batch_size
        self.bar = tqdm(
            total=run.epochs * steps * self.batch,
            unit=" images",
            unit_scale=True,
            desc=self.label,
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self.began, self.share_before = time.monotonic(), 0.0
        self.attacking = Attacking(self.label, self.bar)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def resume(self, epochs: int, steps: int, share: float) -> None:
        """Start from the epochs and steps, a share of the training in [0, 1], that an earlier start has finished."""
        self.share_before = share
        self.bar.update((epochs * self.steps + steps) * self.batch)
        self.line(f"resuming after epoch {epochs}{self.of}" + (f" and {steps} steps of the next" if steps else ""))

    def step(self, _done: int) -> None:
        """Count one more optimizer step."""
        self.bar.update(self.batch)

    def epoch(self, epoch: Epoch, share: float) -> None:
        """Show a finished epoch, after which a share of the training, in [0, 1], is over."""
        number, spent = f"{epoch['epoch']}{self.of}", time.monotonic() - self.began
        shown = f"loss {epoch['train_loss']:.3f}, accuracy {epoch['accuracy']:.2%}"
        self.bar.set_postfix_str(f"epoch {number}, {shown}")
        left = duration(spent / max(share - self.share_before, 1e-9) * (1 - share))
        speed = f"{epoch['images_per_second']:,.0f} images/s"
        text = f"epoch {number}, {shown}, {speed}, {left} of training left"
        if self.bar.disable:
            self.line(text)
        else:
            self.log(text)

    def line(self, text: str) -> None:
        """Print and log a line without disturbing the bar."""
        self.log(text)
        print_line(f"{self.label}: {text}")

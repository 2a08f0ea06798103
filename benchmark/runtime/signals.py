"""Stopping by signals: the first waits for the end of a training step, to save the state; a second SIGINT does not."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal of the session was closed


class Stopped(BaseException):
    """A signal asked the program to stop; like KeyboardInterrupt, it is not caught by `except Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Stop:
    """Called between steps, it raises Stopped if a signal was received.

    Attributes:
        number: of the first signal received; 0 for none.
        gentle: whether a signal waits for the next call or raises at once.
        parent: process id of a worker's parent, whose death ends the worker like SIGTERM; 0 for none.
    """

    def __init__(self, parent: int = 0) -> None:
        self.number, self.gentle, self.parent = 0, False, parent
        self._interrupted = False  # by a SIGINT, whichever signal was the first

    @property
    def asked(self) -> bool:
        """Whether a signal was received or the parent has ended."""
        return bool(self.number or (self.parent and os.getppid() != self.parent))

    def __call__(self) -> None:
        """Raise Stopped if a stop was asked for."""
        if self.asked:
            raise Stopped(self.number or signal.SIGTERM)

    def receive(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle a signal."""
        again = self._interrupted and number == signal.SIGINT
        self._interrupted = self._interrupted or number == signal.SIGINT
        self.number = self.number or number
        if again or not self.gentle:
            raise Stopped(number)
        hint = "; once more stops at once" if number == signal.SIGINT else ""
        print(f"\nstopping after this step{hint}.", file=sys.stderr, flush=True)

    @contextmanager
    def gently(self, wanted: bool = True) -> Iterator[None]:
        """Make signals wait for the next call until the end of the block.

        With `wanted` False, inside such a block: make them raise at once, where a step takes minutes and finished work
        is kept.
        """
        before, self.gentle = self.gentle, wanted
        try:
            if not wanted:
                self()  # for a signal received just before
            yield
        finally:
            self.gentle = before


@contextmanager
def stoppable(parent: int = 0) -> Iterator[Stop]:
    """Yield a `Stop` that handles the signals until the end of the block.

    Signals that this process was started with as ignored, as by nohup or as a shell's background job, stay ignored.
    Outside the main thread Python allows no handlers.
    """
    stop, before = Stop(parent), {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, stop.receive)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Stopping: a first signal waits for the end of a training step, to save the state; a second SIGINT does not."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP, where there is one: the terminal of the session was closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Stopped(BaseException):
    """Somebody asked the program to stop; like KeyboardInterrupt no `except Exception` takes it for an accident."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Stop:
    """Whether somebody asked to stop: called between steps, it raises.

    Attributes:
        number: of the signal that came, 0 as long as none did.
        gentle: a first signal waits for the next call; elsewhere it stops at once.
        parent: of a worker, the process whose death ends it as SIGTERM does; 0 for none.
    """

    def __init__(self, parent: int = 0) -> None:
        self.number, self.gentle, self.parent = 0, False, parent

    @property
    def asked(self) -> bool:
        """Whether a signal came, or the parent is gone."""
        return bool(self.number or (self.parent and os.getppid() != self.parent))

    def __call__(self) -> None:
        """Raise Stopped if somebody asked to stop."""
        if self.asked:
            raise Stopped(self.number or signal.SIGTERM)

    def receive(self, number: int, _frame: FrameType | None = None) -> None:
        """Take a signal."""
        again = self.number == number == signal.SIGINT
        self.number = self.number or number
        if again or not self.gentle:
            raise Stopped(number)
        hint = "; once more stops at once" if number == signal.SIGINT else ""
        print(f"\nstopping after this step{hint}.", file=sys.stderr, flush=True)

    @contextmanager
    def gently(self, wanted: bool = True) -> Iterator[None]:
        """Let signals wait for the next call, in a part of the program that makes such calls.

        With `wanted` False, in a part of that part: let them stop at once, where one step takes minutes and what is
        finished is kept.
        """
        before, self.gentle = self.gentle, wanted
        try:
            if not wanted:
                self()  # for a signal that came just before
            yield
        finally:
            self.gentle = before


@contextmanager
def stoppable(parent: int = 0) -> Iterator[Stop]:
    """Give a `Stop` that receives the signals until the end of the block.

    A signal that this process was started to ignore, as nohup and shells' background jobs do with some, stays ignored;
    outside the main thread Python takes no handlers.
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

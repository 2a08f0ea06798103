"""Launchers: start the processes that compute the runs of a plan.

In: pending runs and a `worker.Context`. Out: records. A launcher is a module with two functions: `check(options)`
refuses incompatible options, before anything else, and `run(todo, context)` returns when every run has ended. To add
one, write such a module and add its row to `LAUNCHERS`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmark.execution.launchers import local, ray, torchrun
from benchmark.execution.worker import Context, Options
from benchmark.settings.plan import Run


class Launcher(NamedTuple):
    """A row of `LAUNCHERS`; `note` describes it in one line."""

    check: Callable[[Options], None]
    run: Callable[[Sequence[Run], Context], None]
    note: str


LAUNCHERS = {
    "local": Launcher(local.check, local.run, "in this process, or in N with --jobs N"),
    "ray": Launcher(ray.check, ray.run, "each run is a task of a Ray cluster"),
    "torchrun": Launcher(torchrun.check, torchrun.run, "several processes train each run together"),
}

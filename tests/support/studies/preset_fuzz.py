"""Preset files as no one would write them, real ones changed at random and random ones: a plan or a readable message.

`PYTHONPATH=.:tests/support python -m studies.preset_fuzz 3000` tries 3,000;
tests/benchmark/settings/test_load.py tries fewer.
"""

import copy
import random
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import tomli_w

from benchmark.runtime.errors import BenchmarkError
from benchmark.settings.load import PRESETS, load_preset
from benchmark.settings.plan import make_plan
from benchmark.settings.tuning import search
from benchmark.settings.variants import ablate, at_equal_compute, shrink, trials_preset, tuned_preset

Draw = random.Random

LONGEST = 5000  # characters of a message
HANGS, SLOW, PATIENCE = 20, 2.0, 10  # seconds of the processor, and how much longer by the clock
SOURCES = [path.read_bytes() for path in sorted(PRESETS.glob("*.toml"))]
WORDS = [
    *("name", "title", "seeds", "extends", "data", "dataset", "pixels", "model", "recipe", "epochs", "batch_size"),
    *("evaluation", "eps", "attacks", "steps", "arms", "sba", "erm", "method", "augmentation", "settings", "layers"),
    *("p", "analysis", "treatment", "against", "level", "levels", "ablation", "checks", "compute"),
    *("", "../x", "a b", "é", "\n"),
]
VALUES: list[Any] = [
    *(0, 1, -1, 3, 2**31, 2**63 - 1, 2**63, -(2**64), 10**300, 0.0, -0.0, 0.5, 1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf"), True, False, "", "x", "erm", "sba", "smoke", "nan", "../../x", "\0"),
    *("a\nb", "\u202e", "\U0001f600", "é" * 300, "x" * 60_000, "1.5", "[1]", "a.b" * 90),
    *([], [[]], {}, [1], [0.5, 0.25], ["erm", "erm"], ["sba", 1], [{}], {"a": {"b": []}}, list(range(1500))),
    *([float("nan")], [{"name": "pgd", "steps": 2**63 - 1}], [{"name": "x" * 999, "steps": []}], {"x" * 5000: 1}),
    *(tomllib.loads("x = 2026-01-01")["x"], tomllib.loads("x = 12:00:00")["x"], [tomllib.loads("x = 0001-01-01")["x"]]),
]
LITERALS = [
    *("nan", "-inf", "1e400", "9" * 30, "9" * 4301, "0x" + "f" * 40, "1_0", "01", "+1"),
    *("2026-01-01T00:00:00Z", "2026-13-01", "'\\u0000'", '"\\u0000"', '"\\ud800"', '"\\U0001F600"'),
    *('"""a\nb"""', "'''", '"', "\0", "\ufeff", "\u2028", "# x", "="),
    *("[" * depth + "]" * depth for depth in (1, 21, 300, 3000)),
    *("{a=" * depth + "1" + "}" * depth for depth in (2, 30, 3000)),
    *("a." * parts + "a=1" for parts in (3, 25, 150, 20_000)),
    *("[" + "a." * 25 + "a]", "[[arms]]", "[arms.sba]", "[arms.'../x']", "[data]", "[a]\n" * 3, "x" * 99_000, "."),
]


def value(draw: Draw) -> Any:
    return copy.deepcopy(draw.choice(VALUES))


def near(draw: Draw, old: Any) -> Any:
    """Return a value of the same type that a preset may well have; of a table or a date any value."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return draw.choice((old + 1, 2 * old, old // 2, 100 * old, -old))
    if isinstance(old, float):
        return old * draw.choice((0.5, 2.0, 1e6, 1e-300, -1.0))
    if isinstance(old, list):
        return draw.choice((old[1:], old * 2, old[::-1]))
    return draw.choice(WORDS) if isinstance(old, str) else value(draw)


def by_bytes(draw: Draw, source: bytes) -> bytes:
    """Change a few bytes: flip, delete, insert, repeat, cut, splice."""
    text = bytearray(source)
    for _ in range(draw.choice((1, 1, 2, 8))):
        start = draw.randrange(len(text) + 1)
        end = min(len(text), start + draw.choice((0, 1, 1, 5, 200)))
        other = draw.choice(SOURCES)
        text[start:end] = draw.choice(
            (b"", draw.randbytes(1), draw.randbytes(9), bytes(text[start:end]) * 3, other[start : start + 300])
        )
    return bytes(text)


def by_lines(draw: Draw, source: bytes) -> bytes:
    """Delete, repeat, swap and replace lines, and values in them."""
    lines = source.decode().splitlines()
    for _ in range(draw.choice((1, 1, 2, 5))):
        one, two = draw.randrange(len(lines)), draw.randrange(len(lines))
        act = draw.randrange(5)
        if act == 0 and len(lines) > 1:
            del lines[one]
        elif act == 1:
            lines.insert(two, lines[one])
        elif act == 2:
            lines[one], lines[two] = lines[two], lines[one]
        elif act == 3:
            lines[one] = draw.choice(LITERALS)
        else:
            lines[one] = f"{lines[one].partition('=')[0]}= {draw.choice(LITERALS)}"
    return "\n".join(lines).encode()


def by_values(draw: Draw, source: bytes) -> bytes:
    """Replace values by values of any type, keys by other keys, anywhere in the tree."""
    tree = tomllib.loads(source.decode())
    for _ in range(draw.choice((1, 1, 2, 6))):
        place: Any = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw.choice(keys) if keys else None
            if key is None or not isinstance(place[key], dict | list) or draw.random() < 0.15:
                break
            place = place[key]
        if isinstance(place, dict) and (key is None or draw.random() < 0.2):
            place[draw.choice(WORDS)] = value(draw)
        elif key is not None:
            place[key] = value(draw) if draw.random() < 0.5 else near(draw, place[key])
    return tomli_w.dumps(tree).encode()


def extension(draw: Draw, _source: bytes) -> bytes:
    """Write a small file that extends a preset and says anything else."""
    base = draw.choice((*(path.stem for path in sorted(PRESETS.glob("*.toml"))), "smok", value(draw)))
    return tomli_w.dumps({"extends": base} | tree_of(draw, 3)).encode()


def from_nothing(draw: Draw, _source: bytes) -> bytes:
    """Write random bytes, random text or a random tree of keys that presets have."""
    return draw.choice(
        (
            lambda: draw.randbytes(draw.choice((0, 1, 50, 5000))),
            lambda: "".join(chr(draw.choice((draw.randrange(32, 127), 10, 0x3B1))) for _ in range(200)).encode(),
            lambda: "\n".join(draw.choices([*LITERALS, *WORDS], k=5)).encode(errors="replace"),
            lambda: tomli_w.dumps(tree_of(draw, 4)).encode(),
        )
    )()


def tree_of(draw: Draw, depth: int) -> dict[str, Any]:
    """Return a random table."""
    return {
        draw.choice(WORDS): tree_of(draw, depth - 1) if depth and draw.random() < 0.5 else value(draw)
        for _ in range(draw.randint(0, 5))
    }


MUTATORS = (by_bytes, by_lines, by_values, by_values, extension, from_nothing)


class Outcome(NamedTuple):
    """What became of a file: "plan", "refused" or, where it is a defect, what happened; seconds of the processor."""

    kind: str
    seconds: float


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in a block that takes more seconds of the processor, or ten times as many of the clock."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    other = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(PATIENCE * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGPROF, other)


def plan_every_way(path: Path) -> None:
    """Take a file through all that `run` does with it before it looks for data."""
    preset = load_preset(str(path))
    make_plan(preset, None, None)
    make_plan(at_equal_compute(preset), None, None)
    make_plan(load_preset(str(path), (), shrink(preset)), None, None)
    if preset.ablation:
        make_plan(ablate(preset), None, None)
    if preset.tuning and preset.analysis.treatment in preset.tuning.arms:
        make_plan(trials_preset(preset), None, None)
        tuned = tuned_preset(preset, [trial for trial in search(preset) if trial.number == 0])
        saved = path.with_name(f"{tuned.name}.toml")
        saved.write_text(tomli_w.dumps(tuned.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
        try:
            make_plan(load_preset(str(saved)), None, None)
        finally:
            saved.unlink()


def try_file(path: Path) -> Outcome:
    """Read a file as a preset and make its plans."""
    kind, began = "plan", time.process_time()
    try:
        with limited(HANGS):
            plan_every_way(path)
    except BenchmarkError as refused:
        message = str(refused)
        readable = len(message) < LONGEST and message.replace("\n", "").isprintable()
        kind = "refused" if readable and "Traceback" not in message else f"unreadable: {message[:300]!r}"
    except BaseException as error:
        kind = f"{type(error).__name__}: {str(error)[:300]}"
    return Outcome(kind, time.process_time() - began)


class Found(NamedTuple):
    """How often each outcome was met, the processor seconds of the slowest file, and the files that are defects."""

    kinds: Counter[str]
    slowest: float
    defects: list[str]


def fuzz(count: int, seed: int, folder: Path) -> Found:
    """Read N mutated files; each must become a plan or a readable message, quickly. Defects stay in the folder."""
    draw, kinds, slowest, defects = Draw(seed), Counter[str](), 0.0, list[str]()
    plan_every_way(PRESETS / "smoke.toml")  # imports the methods
    for number in range(count):
        mutate = draw.choice(MUTATORS)
        path = folder / f"fuzz-{number}.toml"
        path.write_bytes(mutate(draw, draw.choice(SOURCES)))
        outcome = try_file(path)
        kinds[outcome.kind] += 1
        slowest = max(slowest, outcome.seconds)
        if outcome.kind in ("plan", "refused") and outcome.seconds < SLOW:
            path.unlink()
        else:
            defects.append(f"{path} ({mutate.__name__}): {outcome}")
    return Found(kinds, slowest, defects)


if __name__ == "__main__":
    found = fuzz(int(sys.argv[1]), 1, Path(tempfile.mkdtemp()))
    print("\n".join(found.defects))
    print(f"{dict(found.kinds)}, the slowest took {found.slowest:.2f} s of the processor")

"""The page of the speed command: a section for each measured machine, generated from its JSON file."""

import json
import re
from pathlib import Path
from typing import TypedDict

from benchmark.report.pages import page_of
from benchmark.report.table import Table
from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import write_text
from benchmark.speed.lines import Line

SCHEMA = 1


class Measured(TypedDict):
    """The lines of one device; plain JSON values, `environment` as in the records."""

    schema: int
    environment: dict[str, str]
    lines: list[Line]


def tables(measured: Measured) -> str:
    """Return the table of ratios of a machine and, below it, the table of absolute figures."""
    about = measured["environment"]
    ratios = Table(
        ["part", "what", "ratio", "predicted", "ratio / predicted", "rounds", "target", "verdict"],
        [[line["part"], line["what"], *_ratio_cells(line)] for line in measured["lines"]],
        words=("what", "target", "verdict"),
    )
    figures = Table(
        ["part", "what", "figures"],
        [[line["part"], line["what"], _figures_text(line)] for line in measured["lines"] if line["figures"]],
        words=("what", "figures"),
    )
    return (
        f"{ratios}\n\nAbsolute figures, on {about['device_name']} ({about['threads']} threads, torch {about['torch']}, "
        f"torchvision {about['torchvision']}, Python {about['python']}, {about['platform']}), {about['date'][:10]}, "
        f"commit {about['commit']}:\n\n{figures}"
    )


def _ratio_cells(line: Line) -> list[str]:
    if not line["judged"]:
        return ["-"] * 4 + [line["target"], line["verdict"]]
    ratio, predicted = line["ratio"], line["predicted"]
    middle, least, greatest = line["judged"]
    return [
        f"{ratio:.2f}",
        "-" if predicted is None else f"{predicted:.2f}",
        "-" if predicted is None else f"{middle:.3f}",
        "-" if least == greatest else f"{least:.2f} to {greatest:.2f}",
        line["target"],
        line["verdict"],
    ]


def _figures_text(line: Line) -> str:
    return "; ".join(f"{name}: {number_text(value)}" for name, value in line["figures"].items())


def number_text(value: float) -> str:
    """Format a number with at least three digits.

    Example:
        >>> number_text(12345.6), number_text(0.01234)
        ('12,346', '0.0123')
    """
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def line_text(line: Line) -> str:
    """Return a line as text for the terminal."""
    ratio, predicted, _, _, target, verdict = _ratio_cells(line)
    shown = [ratio, *([f"predicted {predicted}"] if predicted != "-" else []), *filter(None, (target, verdict))]
    return f"{line['part']}: {line['what']}: {', '.join(shown)}"


def file_name(environment: dict[str, str]) -> str:
    """Return the name of a device's file, without its suffix.

    Example:
        >>> file_name({"device": "cuda", "device_name": "NVIDIA H100 80GB HBM3"})
        'cuda-nvidia-h100-80gb-hbm3'
    """
    words = re.findall(r"[a-z0-9]+", f"{environment['device']} {environment['device_name']}".lower())
    return "-".join(words)


def write_measured(measured: Measured, folder: Path) -> Path:
    """Write the lines of a device to folder/speed and return the path.

    They replace its previous lines; lines that were not measured again are kept if the environment is the same but for
    the date.
    """
    path = folder / "speed" / f"{file_name(measured['environment'])}.json"
    if path.exists():
        before, now = read_measured(path), {(line["part"], line["what"]) for line in measured["lines"]}
        if before["environment"] | {"date": ""} == measured["environment"] | {"date": ""}:
            kept = [line for line in before["lines"] if (line["part"], line["what"]) not in now]
            measured = {**measured, "lines": [*measured["lines"], *kept]}
    write_text(path, json.dumps(measured, indent=1, allow_nan=False) + "\n")
    return path


def write_page(folder: Path) -> Path:
    """Write folder/speed.md from the files in folder/speed (see `page`); return its path."""
    path = folder / "speed.md"
    write_text(path, page(folder / "speed"))
    return path


def page(folder: Path) -> str:
    """Return the page of all machines whose files are in the folder.

    Raises:
        UsageError: a file cannot be read.
    """
    measured = map(read_measured, sorted(folder.glob("[!.]*.json")))
    return page_of("speed", machines=[(machine["environment"]["device_name"], tables(machine)) for machine in measured])


def read_measured(path: Path) -> Measured:
    """Read the lines of a device.

    Raises:
        UsageError: the file cannot be read or has another schema.
    """
    try:
        measured: Measured = json.loads(path.read_text(encoding="utf-8"))
        version = measured["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not of `python -m benchmark speed` ({error}). Restore or remove it.") from error
    if version != SCHEMA:
        raise UsageError(f"{path} has schema {version}, this version reads {SCHEMA}: measure that device again.")
    return measured

"""What the speed command judges, writes and prints; the committed page is that of the committed figures."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmark.cli import main, speed
from benchmark.runtime.errors import RunError
from benchmark.speed.lines import PARTS, Line, Target, make_line
from benchmark.speed.page import SCHEMA, Measured, file_name, page, read_measured, tables, write_measured, write_page

DOCS = Path(__file__).parents[3] / "docs"
MOST = Target(1.1, at_least=False)


def measured(*lines: Line, name: str = "A CPU, 2 cores") -> Measured:
    keys = ("platform", "python", "torch", "torchvision", "threads", "device", "commit")
    about = dict.fromkeys(keys, "some") | {"device": "cpu", "device_name": name, "date": "2026-01-02T03:04:05"}
    return Measured(schema=SCHEMA, environment=about, lines=list(lines))


@pytest.mark.parametrize(
    ("ratios", "predicted", "target", "here", "verdict"),
    [
        ([1.0, 1.1, 1.2], [], MOST, True, "met"),
        ([1.0, 1.11, 1.2], [], MOST, True, "missed"),
        ([2.2, 2.2, 2.4], [2.0, 2.0, 2.0], MOST, True, "met"),
        ([0.94, 0.95, 9.0], [], Target(0.95, at_least=True), True, "met"),
        ([0.90, 0.94, 9.0], [], Target(0.95, at_least=True), True, "missed"),
        ([0.5], [], Target(0.95, at_least=True), False, "not judged here"),
        ([], [], MOST, True, "not judged here"),
        ([5.0], [], None, True, ""),
    ],
)
def test_the_median_of_ratio_over_prediction_is_judged(
    ratios: list[float], predicted: list[float], target: Target | None, here: bool, verdict: str
) -> None:
    assert make_line("part", "what", ratios, {}, predicted=predicted, target=target, here=here)["verdict"] == verdict


def test_a_line_says_ratio_prediction_rounds_target_and_verdict() -> None:
    line = make_line("SBA's cost", "one copy", [2.0, 2.4, 2.2], {"step, ms": 12.345}, predicted=[2] * 3, target=MOST)
    text = tables(measured(line))
    squeezed = " ".join(text.split())
    assert "| SBA's cost | one copy | 2.20 | 2.00 | 1.100 | 1.00 to 1.20 | at most 1.10 | met |" in squeezed
    assert "step, ms: 12.3" in text
    assert "A CPU, 2 cores (some threads, torch some, torchvision some, Python some, some), 2026-01-02" in text


def test_the_page_has_a_section_for_each_device_and_a_newer_measurement_replaces_the_older(tmp_path: Path) -> None:
    older = measured(make_line("old", "x", [1.0], {}))
    older["environment"]["commit"] = "older"
    write_measured(older, tmp_path)
    write_measured(measured(make_line("new", "x", [1.0], {})), tmp_path)
    write_measured(measured(name="B"), tmp_path)
    text = write_page(tmp_path).read_text(encoding="utf-8")
    assert text.index("## A CPU, 2 cores") < text.index("## B")
    assert "| new" in text
    assert "| old" not in text
    assert sorted(path.name for path in (tmp_path / "speed").iterdir()) == ["cpu-a-cpu-2-cores.json", "cpu-b.json"]


def test_without_figures_the_page_says_so(tmp_path: Path) -> None:
    (tmp_path / "._cpu.json").write_bytes(b"\0\5\26\7")  # macOS on other file systems
    assert "No machine was measured yet." in page(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": 999, "lines": []}'])
def test_a_file_that_is_something_else_is_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "x.json").write_text(text, encoding="utf-8")
    assert main(["speed", "--page", "--output", str(tmp_path)]) == 2
    assert "x.json" in capsys.readouterr().err


def test_the_command_prints_the_table_and_writes_figures_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    met, missed = (
        make_line(part, "fast, erm", [ratio], {}, target=Target(0.95, at_least=True))
        for part, ratio in (("training loop", 0.97), ("over the common loop", 0.5))
    )
    monkeypatch.setattr(speed, "loop_lines", lambda _device: iter([met]))
    monkeypatch.setattr(speed, "common_lines", lambda _device: iter([missed]))
    command = ["speed", "--device", "cpu", "--output", str(tmp_path)]
    assert main([*command, "--parts", "common,training"]) == 0
    out = capsys.readouterr().out
    assert "training loop: fast, erm: 0.97, at least 0.95, met" in out
    (path,) = (tmp_path / "speed").iterdir()
    found = read_measured(path)
    assert path.stem == file_name(found["environment"])
    assert found["lines"] == [met, missed]
    assert tables(found) in (tmp_path / "speed.md").read_text(encoding="utf-8")

    better = make_line("training loop", "fast, erm", [0.99], {}, target=Target(0.95, at_least=True))
    monkeypatch.setattr(speed, "loop_lines", lambda _device: iter([better]))
    assert main([*command, "--parts", "training"]) == 0  # of the same code: the other part stays
    assert read_measured(path)["lines"] == [better, missed]
    monkeypatch.setattr("benchmark.runtime.environment.git_commit", lambda: "another")
    assert main([*command, "--parts", "training"]) == 0
    assert read_measured(path)["lines"] == [better]


def test_what_was_measured_before_a_part_failed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_device: object) -> Iterator[Line]:
        raise RunError("a process failed")
        yield

    first = make_line("training loop", "fast, erm", [0.97], {})
    monkeypatch.setattr(speed, "loop_lines", lambda _device: iter([first]))
    monkeypatch.setattr(speed, "common_lines", broken)
    command = ["speed", "--device", "cpu", "--output", str(tmp_path), "--parts", "training,common"]
    assert main(command) == RunError.exit_code
    (path,) = (tmp_path / "speed").iterdir()
    assert read_measured(path)["lines"] == [first]


def test_every_part_is_measured_and_the_checkpoint_is_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ("attack", "evaluation", "gpu", "loop", "common", "cost", "process")
    makers = [f"{part}_lines" for part in parts]
    for name in makers:
        monkeypatch.setattr(speed, name, lambda *_, name=name: iter([make_line(name, "", [], {})]))
    *_, last = speed.measure(torch.device("cpu"), PARTS, None, None)
    assert [line["part"] for line in last["lines"]] == makers


def test_the_committed_page_is_that_of_the_committed_figures() -> None:
    assert (DOCS / "speed.md").read_text(encoding="utf-8") == page(DOCS / "speed")
    for path in (DOCS / "speed").glob("*.json"):
        assert path.stem == file_name(json.loads(path.read_text(encoding="utf-8"))["environment"])

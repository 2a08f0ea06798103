"""scripts/gpu_session.py: its commands are understood, limits hold, and what a part leaves of its time goes on."""

import importlib.util
import os
import select
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli.options import parser
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_session.py"


@pytest.fixture(scope="module")
def session() -> Any:
    spec = importlib.util.spec_from_file_location("gpu_session", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_commands_are_understood_and_name_what_there_is(session: Any) -> None:
    options = session.parse(["--studies", "cifar10_10k_cpu,cifar100_cpu", "--data-root", ".", "--jobs", "3"])
    commands = [command for part in session.parts(options) for command in part.commands]
    understood = [parser().parse_args(command[3:]) for command in commands if command[:3] == session.BENCHMARK]
    assert [parsed.command for parsed in understood] == ["speed", "run", "run", "run"]
    for parsed in understood[1:]:
        assert make_plan(load_preset(parsed.preset), parsed.arms, parsed.seeds)
    (tests,) = (command for command in commands if "pytest" in command)
    assert (SCRIPT.parents[1] / tests[-1]).is_file()


def test_the_recipe_attacks_1000_images_with_attacks_that_fit_into_minutes(session: Any) -> None:
    preset = load_preset("cifar10_30_epochs_gpu")
    assert preset.evaluation.images == 1000
    assert max(attack.steps for attack in preset.evaluation.attacks) <= 20
    assert {"standard", "sba"} <= set(session.RECIPE_ARMS.split(",")) <= set(preset.arms)


def test_parts_that_are_not_wanted_or_have_nothing_to_do_are_left_out(session: Any) -> None:
    assert [part.name for part in session.parts(session.parse([]))] == ["speed", "recipe", "tests"]
    assert [part.name for part in session.parts(session.parse(["--parts", "tests"]))] == ["tests"]


def test_a_command_that_reaches_its_limit_saves_and_ends_with_all_its_processes(session: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)  # its end is that of the last process that writes
    child = "import time; file = open('alive', 'w'); file.write('x'); file.flush(); time.sleep(600)"
    saves = (
        "import pathlib, signal, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('saved').touch(), sys.exit(143)))\n"
        "print('began', flush=True)\n"
        "time.sleep(600)\n"
    )
    command = (sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r})\n{saves}")
    part = session.Part("studies", 1.0, [command, command])
    outcome = session.run_part(part, 4.0, tmp_path, os.environ)
    assert outcome.codes == [None]
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "studies.log").read_text(encoding="utf-8").startswith("began")
    assert os.read(alive, 1) == b"x"
    assert select.select([alive], [], [], 10)[0]
    assert os.read(alive, 1) == b""
    os.close(alive)


def test_time_that_a_part_leaves_goes_to_those_after_it_and_the_worst_exit_code_counts(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(code: int) -> tuple[str, ...]:
        return (sys.executable, "-c", f"print('from a part'); raise SystemExit({code})")

    made = [session.Part("speed", 0.5, [say(0)]), session.Part("tests", 0.5, [say(3)])]
    monkeypatch.setattr(session, "parts", lambda _options: made)
    monkeypatch.setattr(session, "gpu_is_here", lambda: True)
    assert session.main(["--minutes", "2", "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "speed: at most 60 s" in said
    limit = float(said.split("tests: at most ")[1].split()[0])
    assert 90 < limit <= 120
    assert "exit 0" in said
    assert "exit 3" in said
    assert said.count("from a part") == 2
    made.pop()
    assert session.main(["--minutes", "2", "--output", str(tmp_path / "out")]) == 0


def test_without_a_gpu_it_says_so_and_does_nothing(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert session.main(["--output", str(tmp_path / "out")]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_the_multi_process_service_the_environment_is_the_own(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.shutil, "which", lambda _name: None)
    with session.multi_process_service() as environment:
        assert environment is os.environ


@pytest.mark.parametrize("works", [True, False])
def test_the_multi_process_service_is_used_if_it_works_and_ended_in_any_case(
    session: Any, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    control = tmp_path / "nvidia-cuda-mps-control"
    control.write_text(f'#!/bin/sh\n[ "$1" = -d ] && echo started >> {calls} || cat >> {calls}\n', encoding="utf-8")
    control.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    trial = tmp_path / "python"
    trial.write_text(f"#!/bin/sh\nexit {0 if works else 1}\n", encoding="utf-8")
    trial.chmod(0o755)
    monkeypatch.setattr(session.sys, "executable", str(trial))
    with session.multi_process_service() as environment:
        assert ("CUDA_MPS_PIPE_DIRECTORY" in environment) == works
    assert calls.read_text(encoding="utf-8").split() == ["started", "quit"]

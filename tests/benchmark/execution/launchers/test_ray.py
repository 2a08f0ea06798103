"""The launcher ray: runs on a real cluster, one of whose nodes dies; shares, signals, errors."""

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from studies.saying import PROJECT, Say
from studies.tiny_study import TINY, path_of, read, without_times

from benchmark.execution.files import Folders
from benchmark.execution.launchers import ray as ray_launcher
from benchmark.execution.launchers.local import THREADS
from benchmark.execution.launchers.ray import error_message, share, take, watch
from benchmark.execution.progress import LogReader
from benchmark.runtime.errors import UsageError
from benchmark.runtime.signals import Stop
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the package ray is not installed")
NEEDS_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="it looks for processes in /proc")
ARMS = ("erm", "mixup", "sba")
DIVERGES = "--set=arms.sba.settings.noise=1e30"
LONG = (*TINY, DIVERGES, "--set=recipe.epochs=20", "--checkpoint-steps", "3", "--arms", ",".join(ARMS), "--seeds", "0")
LEASE = 3.0
# Python imports a module of this name at its start, so that each worker has the shorter lease.
SHORT_LEASE = f"from benchmark.execution import lock as locks\nlocks.LEASE, locks.HEARTBEAT = {LEASE}, 0.5\n"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmark", "run", "smoke", *arguments]


@contextmanager
def started(line: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A process with pipes, ended with the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture
def environment(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; processes started from here find the project, and have one thread."""
    (fresh / "short lease").mkdir()
    (fresh / "short lease" / "sitecustomize.py").write_text(SHORT_LEASE)
    monkeypatch.setenv("PYTHONPATH", f"{PROJECT}{os.pathsep}{fresh / 'short lease'}")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else its processes starve beside whatever else this machine does
    for name in THREADS:
        monkeypatch.setenv(name, "1")
    return fresh


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def run_at(raylet: int, results: Path) -> tuple[str, int, Path]:
    """The arm, the process and the lock of the run that is in its second epoch on the node of a raylet."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for lock in results.rglob("*.lock"):
            arm = lock.parent.name
            with contextlib.suppress(OSError):  # the run has not begun, or has ended since
                holder = re.search(r"pid=(\d+)", lock.read_text())  # none while it is being written
                log = (Path("runs") / "smoke" / arm / "seed-0.log").read_text()
                if holder and "epoch 1/" in log and parent(parent(int(holder[1]))) == raylet:
                    return arm, int(holder[1]), lock
        time.sleep(0.05)
    raise AssertionError("no run has begun there")


@pytest.mark.slow
@NEEDS_RAY
@NEEDS_LINUX
@pytest.mark.usefixtures("environment")
def test_a_run_whose_node_dies_goes_on_from_its_checkpoint_on_another_and_the_records_are_the_same() -> None:
    with started([sys.executable, str(PROJECT / "tests" / "support" / "processes" / "two_nodes.py")]) as cluster:
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        address, raylet = cluster.stdout.readline().split()
        with started([*command(*LONG), "--launcher", "ray", "--ray-address", address]) as study:
            arm, process, lock = run_at(int(raylet), Path("results"))
            os.kill(process, signal.SIGSTOP)  # a machine that dies says nothing more, and its lock stays
            lock.write_text(lock.read_text().replace("host=", "host=another-"))
            cluster.stdin.write("die\n")
            cluster.stdin.flush()
            assert cluster.stdout.readline() == "killed\n"
            died = time.time()
            os.kill(process, signal.SIGKILL)
            out, error = study.communicate(timeout=240)
        cluster.communicate("", timeout=240)
    assert study.returncode == 1, out + error
    assert "3 runs: 2 done, 1 diverged." in out
    assert "these runs did not end well" in error
    assert "sba seed 0: diverged" in error
    assert "Traceback" not in error
    assert "raylet" not in out + error  # Ray's own words
    assert "is gone; its runs are started elsewhere" in out
    assert re.search(rf"^{arm} seed 0: resuming after epoch \d+/20", out, re.MULTILINE)
    log = (Path("runs") / "smoke" / arm / "seed-0.log").read_text()
    (resumed,) = re.findall(r"^(\S+ \S+)Z resuming after", log, re.MULTILINE)
    assert datetime.fromisoformat(f"{resumed}+00:00").timestamp() >= died + LEASE - 1  # the log has whole seconds
    subprocess.run([*command(*LONG), "--results", "alone", "--runs", "alone"], check=False, capture_output=True)
    for arm in ARMS:
        assert without_times(read(path_of(arm, 0))) == without_times(read(path_of(arm, 0, Path("alone"))))
    assert not list(Path("results").rglob("*.lock"))


@pytest.mark.slow
@NEEDS_RAY
@NEEDS_LINUX
def test_an_interrupt_lets_the_runs_save_and_a_second_one_stops_at_once(environment: Path) -> None:
    endless = (*TINY, "--set=recipe.epochs=100000", "--arms", "erm", "--seeds", "0", "--launcher", "ray")
    for awaited, frozen in (("seed 0: epoch 1/", False), ("seed 0: resuming after", True)):
        with started(command(*endless)) as study:
            assert study.stdout is not None
            assert any(awaited in line for line in study.stdout)
            (lock,) = environment.rglob("*.lock")
            process = int(re.findall(r"pid=(\d+)", lock.read_text())[0])
            assert "libtorch" not in Path(f"/proc/{parent(process)}/maps").read_text()  # the task only waits
            if frozen:
                os.kill(process, signal.SIGSTOP)  # it will never save
            study.send_signal(signal.SIGINT)
            if frozen:
                assert study.stderr is not None
                assert any("once more stops at once" in line for line in study.stderr)
                time.sleep(2 * ray_launcher.POLL)
                study.send_signal(signal.SIGINT)
            _, error = study.communicate(timeout=240)
        assert study.returncode == 130
        assert "the same command goes on" in error
        assert "Traceback" not in error
        assert frozen == lock.exists()
        assert list(environment.rglob("*.pt"))
        until = time.monotonic() + 120
        while Path(f"/proc/{process}").exists():  # Ray kills it a moment later
            assert time.monotonic() < until
            time.sleep(0.1)


def node(**resources: float) -> dict[str, Any]:
    return {"Alive": True, "Resources": resources}


def test_each_run_has_its_part_of_the_smallest_node() -> None:
    cpu = [node(CPU=8.0), node(CPU=6.0), node(memory=1.0), {"Alive": False, "Resources": {}}]
    assert share(cpu, 1, "cpu") == (6, 0.0)
    assert share(cpu, 4, "cpu") == (1, 0.0)
    assert share(cpu, 100, "cpu") == (1, 0.0)
    gpu = [node(CPU=96.0, GPU=8.0), node(CPU=64.0, GPU=4.0), node(CPU=2.0)]
    assert share(gpu, 1, "cuda") == (12, 1.0)
    assert share(gpu, 2, "cuda") == (6, 0.5)
    for jobs in range(1, 40):
        assert 0.99 < jobs * share(gpu, jobs, "cuda")[1] <= 1  # all of them fit on one
    with pytest.raises(UsageError, match="None of the cluster's 1 nodes has CPU and GPU"):
        share([node(CPU=8.0)], 1, "cuda")
    with pytest.raises(UsageError, match="None of the cluster's 0 nodes has CPU"):
        share([], 1, "cpu")


def test_a_run_whose_process_is_killed_is_for_ray_to_start_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_by(ended: str) -> tuple[int, str]:
        """Take a run whose process ends so before it begins; its bytecode would hide the next way to end."""
        (tmp_path / "sitecustomize.py").write_text(f"import os, signal\n{ended}")
        environment = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        return take(["list", "arms"], environment, str(PROJECT))

    killed = [f"os.kill(os.getpid(), signal.{name})" for name in ("SIGKILL", "SIGTERM")]
    # A worker that was asked to stop, and what a shell says of one that was killed.
    for ended in (*killed, "os._exit(128 + 15)", "os._exit(128 + 9)"):
        with pytest.raises(ChildProcessError, match="ended by a signal"):
            take_by(ended)
    assert take_by("os._exit(255)") == (255, "")  # of its own accord
    monkeypatch.setattr("benchmark.execution.launchers.ray.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        take(["list", "arms"], {}, str(PROJECT))  # its process is waited for: no warning about one that still runs


def interrupt(_seconds: float) -> None:
    raise KeyboardInterrupt


class FakeError(Exception):
    """Stands in for ray.exceptions.RayError."""


class FakeTaskError(FakeError):
    """Stands in for ray.exceptions.RayTaskError."""


class FakeChildError(FakeTaskError, ChildProcessError):
    """As Ray raises a task's own ChildProcessError."""


def fake_ray(outcomes: dict[str, Any]) -> Any:
    """Ray's module, in which tasks have these outcomes, one after the other, and one node has died."""

    def get(task: str) -> Any:
        if isinstance(outcomes[task], Exception):
            raise outcomes[task]
        return outcomes[task]

    return SimpleNamespace(
        wait=lambda tasks, **_: (tasks[:1], tasks[1:]),
        get=get,
        nodes=lambda: [{"Alive": False, "NodeID": "1", "NodeManagerHostname": "n1"}],
        exceptions=SimpleNamespace(RayError=FakeError, RayTaskError=FakeTaskError),
    )


def test_a_run_that_ray_gives_up_is_told_and_what_the_user_must_mend_ends_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_launcher, "POLL", 0)
    monkeypatch.setattr(LogReader, "added", lambda log: [f"a line of {log.path}"])
    runs, folders = make_plan(load_preset("smoke"), ["erm", "sba"], [0]), Folders(tmp_path, tmp_path)
    lost = fake_ray({"a": FakeError("long\nthe node died"), "b": (0, "")})
    watch(lost, dict(zip("ab", runs, strict=True)), folders, Stop())
    said = capsys.readouterr().out
    assert f"sba seed 0: a line of {tmp_path / 'smoke' / 'sba' / 'seed-0.log'}\n" in said
    assert "erm seed 0: given up after 10 more starts: the node died" in said
    assert said.count("The node n1 is gone") == 1
    own = fake_ray({"a": FakeChildError("killed"), "b": FakeTaskError("take()\nFileNotFoundError: 'code'")})
    watch(own, dict(zip("ab", runs, strict=True)), folders, Stop())
    said = capsys.readouterr().out
    assert "erm seed 0: given up after 10 more starts: killed" in said
    assert "sba seed 0: could not be started: FileNotFoundError: 'code'" in said
    wrong, left = (
        fake_ray({"a": (3, "said\nerror: no data\nlook there\n"), "b": (0, "")}),
        dict(zip("ab", runs, strict=True)),
    )
    with pytest.raises(UsageError, match=r"^no data\nlook there$") as raised:
        watch(wrong, left, folders, Stop())
    assert raised.value.exit_code == 3
    assert list(left) == ["b"]  # what is left is cancelled


def test_a_worker_without_a_message_shows_its_last_lines() -> None:
    said = "\n".join(map(str, range(100)))
    assert error_message(said).splitlines() == ["a worker broke off:", *map(str, range(80, 100))]


def test_wrong_options_are_refused(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    assert say("run", "smoke", "--launcher", "ray", "--device", "cuda:1").has("write --device cuda")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    said = say("run", "smoke", "--launcher", "ray")
    assert said.code == 2
    assert said.has('--launcher ray needs the package ray: python -m pip install "sba-benchmark[ray]"')


@pytest.mark.slow
@NEEDS_RAY
@pytest.mark.usefixtures("fresh")
def test_an_address_at_which_nobody_answers_is_one_message(say: Say) -> None:
    one = ("run", "smoke", *TINY, "--arms", "erm", "--seeds", "0", "--launcher", "ray", "--ray-address")
    said = say(*one, "127.0.0.1:1")
    assert said.code == 2
    assert said.has("--ray-address 127.0.0.1:1: nobody answers there", "ray start --head")

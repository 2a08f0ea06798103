"""The sessions of the project, one command each; arguments after -- are passed on."""

import argparse
import functools
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nox
from nox.virtualenv import ALL_VENVS, ProcessEnv
from packaging.utils import canonicalize_name

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "types"]

CONSTRAINTS = Path("constraints.txt")
# Files that determine the environment's content; their hash is its stamp.
INSTALLED_FROM = (Path("pyproject.toml"), CONSTRAINTS)
STAMP = "installed-from.sha256"
WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"


def shared_environment(location: str, interpreter: str | None = None, **options: Any) -> ProcessEnv:
    """Return one environment for all sessions, so that torch's gigabytes are installed once.

    nox passes `<envdir>/<session>`; the last part becomes the Python version, as in `python-3.11`. An environment whose
    stamp names another path is removed: the checkout was moved, and its scripts and the editable installation point to
    the old path.
    """
    version = interpreter or f"{sys.version_info.major}.{sys.version_info.minor}"
    path = Path(location).with_name(f"python-{version}")
    stamp = path / STAMP
    if stamp.exists() and stamp.read_text().partition("\n")[2] != str(path.resolve()):
        shutil.rmtree(path)
    return ALL_VENVS["virtualenv"](str(path), interpreter=interpreter, **options)


ALL_VENVS["shared"] = shared_environment
# Named on each session: in nox.options, NOX_DEFAULT_VENV_BACKEND=uv would win. --no-venv wins over both.
session = functools.partial(nox.session, venv_backend="shared", reuse_venv=True)


def install(session: nox.Session, extra: str = "dev") -> None:
    """Install the project under the constraints with an extra's packages, unless the stamp shows that it was done.

    The smoke study needs no extra (""), so that the first command on a fresh machine installs no more than it uses.
    """
    if session.venv_backend == "none":
        return  # --no-venv: the environment belongs to the user
    environment = Path(session.bin).parent.resolve()
    stamp = environment / STAMP
    content = hashlib.sha256(b"\0".join(path.read_bytes() for path in INSTALLED_FROM)).hexdigest()
    state = f"{content}\n{environment}"
    if stamp.exists() and stamp.read_text() in (f"{extra} {state}", f"dev {state}"):
        return
    stamp.unlink(missing_ok=True)
    session.log("Installing once for all sessions; torch is large, this can take minutes.")
    target = f".[{extra}]" if extra else "."
    session.install("--constraint", str(CONSTRAINTS), "--editable", target, silent=False)
    # Written through nox, which also skips it under --no-install.
    session.run_install("python", "-c", WRITE, str(stamp), f"{extra} {state}", log=False)


def benchmark(session: nox.Session, *args: str, **options: Any) -> None:
    """Run `python -m benchmark ARGS` with options of `session.run`; the session fails if it does."""
    session.run("python", "-m", "benchmark", *args, **options)


def study(session: nox.Session, arguments: str) -> None:
    """Do the pending runs of a study, then write the report of its results folder."""
    install(session)
    benchmark(session, "run", *arguments.split(), "--report", *session.posargs)


def named(session: nox.Session, **defaults: str) -> tuple[list[str], list[str]]:
    """Return the values of options such as `-- --preset NAME`, in the order of `defaults`, and the other arguments."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, default in defaults.items():
        options.add_argument(f"--{name}", default=default)
    chosen, others = options.parse_known_args(session.posargs)
    return [getattr(chosen, name) for name in defaults], others


# Session -> arguments of `run`, and its description.
STUDIES = {
    "cifar10": ("cifar10", "The study on CIFAR-10 (downloaded, or found under the data root)."),
    "cifar100": ("cifar100", "The study on CIFAR-100 (downloaded, or found under the data root)."),
    "cifar10_jpeg": ("cifar10_jpeg", "The study on CIFAR-10 re-saved as JPEG, a folder under the data root."),
    "cifar10_jpeg_10k": ("cifar10_jpeg_10k_cpu", "The study on 10,000 of those images, with as many training steps."),
    "tiny_imagenet": (
        "tiny_imagenet_100 --processes gpus",
        "The study on 100 classes of Tiny ImageNet, a folder under the data root, by ImageNet's path.",
    ),
    "tiny_imagenet_memory": (
        "tiny_imagenet_100_memory_cpu",
        "The same images decoded once into memory, more epochs of a smaller network: a study for a CPU.",
    ),
    "imagenet": (
        "imagenet --processes gpus",
        "The study on ImageNet, folders under the data root: ResNet-50, on all GPUs of this machine.",
    ),
}
for name, (arguments, about) in STUDIES.items():
    row = functools.partial(study, arguments=arguments)
    row.__doc__ = about
    session(row, name=name)


@session
def smoke(session: nox.Session) -> None:
    """Train four arms x 3 seeds on digits, attack, test, report: the whole path in 90 s."""
    install(session, extra="")
    benchmark(session, "run", "smoke", "--force", "--results", "runs/smoke/results", "--report", *session.posargs)


@session
def ablation(session: nox.Session) -> None:
    """One arm for each reading of SBA, on the validation split of a study (-- --preset NAME; else cifar10_jpeg)."""
    install(session)
    (preset,), others = named(session, preset="cifar10_jpeg")
    benchmark(session, "run", preset, "--ablation", "--report", *others)


@session
def tuning(session: nox.Session) -> None:
    """Equal quasi-random search for every method of a study (-- --preset NAME; else cifar10_10k_cpu), and the best."""
    install(session)
    (preset, results), others = named(session, preset="cifar10_10k_cpu", results="")
    records = ["--results", results] if results else []
    command = ["run", preset, "--tuning", *records, *others]
    benchmark(session, *command, success_codes=[0, 1])  # 1: a trial diverged, which is an outcome of the search
    if "--smoke" not in others:
        benchmark(session, "tune", preset, *(["--trials", results] if results else []))


@session
def crosscheck(session: nox.Session) -> None:
    """Our attacks beside other packages', on a study's trained runs (-- --preset NAME; else cifar10_jpeg)."""
    install(session)
    (preset, results), others = named(session, preset="cifar10_jpeg", results="results")
    benchmark(session, "crosscheck", preset, "--results", results, *others)
    benchmark(session, "report", "--results", results)


# Tests of single accidents: full disks, read-only folders, damaged files, failures, locks, signals.
DAMAGES = [
    *(f"tests/system/test_{name}.py" for name in ("unwritable", "bad_files")),
    *(f"tests/benchmark/execution/test_{name}.py" for name in ("failures", "files", "lock", "progress")),
    "tests/benchmark/execution/launchers/test_local.py",
    "tests/benchmark/runtime/test_signals.py",
    *(f"tests/benchmark/records/test_{name}.py" for name in ("records", "record_fuzz")),
]


@session
def faults(session: nox.Session) -> None:
    """Kill studies of digits at random moments, 200 times (-- --kills N), compare their records; then the damages."""
    install(session)
    session.run("python", "-m", "processes.faults", *session.posargs, env={"PYTHONPATH": ".:tests/support"})
    session.run("pytest", "--verbose", *DAMAGES)


@session
def speed(session: nox.Session) -> None:
    """Measure training, start-up, memory and attacks beside their targets; write docs/speed.md and its figures."""
    install(session)
    benchmark(session, "speed", *session.posargs)


@session
def results(session: nox.Session) -> None:
    """Regenerate RESULTS.md and its figures from the committed records (-- --check: only compare)."""
    install(session)
    benchmark(session, "report", *session.posargs)


@session
def tests(session: nox.Session) -> None:
    """Run the tests and doctests but the slow ones, in several processes (-- --numprocesses 0: in one process)."""
    run_tests(session, "not slow")


@session
def tests_slow(session: nox.Session) -> None:
    """Run the tests that start many processes: Ray, DistributedDataParallel, Slurm, kills."""
    run_tests(session, "slow")


def run_tests(session: nox.Session, marked: str) -> None:
    """Run the tests whose marks match, in one process more than there are cores, since tests wait for others' ends."""
    install(session)
    processes = ["--numprocesses", str((os.cpu_count() or 1) + 1), "--dist", "worksteal"]
    session.run("pytest", "-m", marked, *processes, *session.posargs, env={"OMP_NUM_THREADS": "1"})


@session
def lint(session: nox.Session) -> None:
    """Check style, formatting and which package imports which."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", env={"PYTHONPATH": "."})


@session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    install(session)
    session.run("mypy")


# An environment of its own, so that wheel needs no other session.
@nox.session(venv_backend="virtualenv", reuse_venv=True)
def build(session: nox.Session) -> None:
    """Build the source distribution, and from it the wheel, into dist/."""
    if session.venv_backend != "none":
        session.install("--constraint", str(CONSTRAINTS), "build")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")


@nox.session(venv_backend="virtualenv", reuse_venv=False, requires=["build"])
def wheel(session: nox.Session) -> None:
    """Install the wheel in an empty environment, use it from an empty folder (--force-python 3.13: by that Python)."""
    (built,) = Path("dist").resolve().glob("*.whl")
    session.install("--constraint", str(CONSTRAINTS), str(built))
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        session.run("python", "-c", "from sba import SBA")
        session.run("sba-benchmark", "run", "smoke", "--arms", "standard,sba", "--seeds", "0")
        session.run("sba-benchmark", "report")


# An environment of its own: pip-audit's needs are newer than the project's pins.
@nox.session(venv_backend="virtualenv", reuse_venv=True)
def audit(session: nox.Session) -> None:
    """Look up every pinned package in a database of known vulnerabilities (-- options of pip-audit)."""
    if session.venv_backend != "none":
        session.install("pip-audit")
    # --strict: behind a mirror that knows no vulnerabilities every package is skipped, which is no audit.
    options = f"--strict --requirement {CONSTRAINTS} --no-deps --disable-pip --progress-spinner off"
    session.run("pip-audit", *options.split(), *session.posargs)


HEADER = """\
# Every package that the project needs, at the version it is tested with; sessions install under it.
# Generated by `nox -s lock` from pyproject.toml, with pip's own resolver: do not edit.
# torch is pinned without its build (+cpu, +cu130), so that a machine takes the one it offers. A CUDA build
# pins the nvidia, cuda and triton packages that it needs itself, so these are not listed here.
"""
NOT_LISTED = re.compile(r"sba-benchmark|(nvidia|cuda)-.+|triton")


@session
def lock(session: nox.Session) -> None:
    """Renew constraints.txt from pyproject.toml with pip's own resolver."""
    report = session.cache_dir / "resolved.json"
    command = "pip install --quiet --dry-run --ignore-installed --editable .[dev] --report"
    session.run("python", "-m", *command.split(), str(report))
    resolved = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    pins = {canonicalize_name(it["name"]): it["version"].partition("+")[0] for it in resolved}
    names = sorted(name for name in pins if not NOT_LISTED.fullmatch(name))
    lines = [f"{name}=={pins[name]}\n" for name in names]
    CONSTRAINTS.write_text(HEADER + "".join(lines), encoding="utf-8")

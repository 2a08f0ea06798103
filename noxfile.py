"""What the project can be asked to do, each in one command; arguments after -- go to what it runs."""

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
from nox.command import CommandFailed
from nox.virtualenv import ALL_VENVS, ProcessEnv
from packaging.utils import canonicalize_name

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "types"]

CONSTRAINTS = Path("constraints.txt")
# What the environment's content depends on, hashed into its stamp.
INSTALLED_FROM = (Path("pyproject.toml"), CONSTRAINTS)
WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
SMOKE = Path("runs/smoke")


def shared_environment(location: str, interpreter: str | None = None, **options: Any) -> ProcessEnv:
    """One environment for all sessions, so that torch's gigabytes are installed once and not once a session.

    nox asks for `<envdir>/<session>`; the last part becomes the Python version, `python-3.11`.
    """
    version = interpreter or f"{sys.version_info.major}.{sys.version_info.minor}"
    path = Path(location).with_name(f"python-{version}")
    return ALL_VENVS["virtualenv"](str(path), interpreter=interpreter, **options)


ALL_VENVS["shared"] = shared_environment
# Named on each session: in nox.options, NOX_DEFAULT_VENV_BACKEND=uv would win. --no-venv wins over both.
session = functools.partial(nox.session, venv_backend="shared", reuse_venv=True)


def install(session: nox.Session, extra: str = "dev") -> None:
    """Install the project under the constraints, with an extra's packages, unless the stamp says that they are there.

    The smoke study needs none (""), so that the first command on a fresh machine installs no more than it uses; the
    tests add the rest to the same environment.
    """
    if session.venv_backend == "none":
        return  # --no-venv: the user's environment is the user's
    stamp = Path(session.bin).parent / "installed-from.sha256"
    state = hashlib.sha256(b"\0".join(path.read_bytes() for path in INSTALLED_FROM)).hexdigest()
    if stamp.exists() and stamp.read_text() in (f"{extra} {state}", f"dev {state}"):
        return
    stamp.unlink(missing_ok=True)
    session.log("Installing once for all sessions; torch is large, this can take minutes.")
    target = f".[{extra}]" if extra else "."
    session.install("--constraint", str(CONSTRAINTS), "--editable", target, silent=False)
    # Written through nox, which also skips it under --no-install.
    session.run_install("python", "-c", WRITE, str(stamp), f"{extra} {state}", log=False)


def benchmark(session: nox.Session, *args: str) -> None:
    """Run `python -m benchmark ARGS`; its exit code decides over the session."""
    session.run("python", "-m", "benchmark", *args)


def study(session: nox.Session, preset: str, *arguments: str, together: bool = False) -> None:
    """Run the preset, then write the report; a run with --smoke has written its own, apart from these."""
    install(session)
    failure, run = None, torchrun if together else benchmark
    try:
        run(session, "run", preset, *(arguments or session.posargs))
    except CommandFailed as failed:
        if failed.reason != "Returned code 1":
            raise
        failure = failed  # a run failed or diverged: the report shows it, so it is written all the same
    if "--smoke" not in session.posargs:
        write_report(session)
    if failure:
        raise failure


def torchrun(session: nox.Session, *args: str) -> None:
    """Run `python -m benchmark ARGS` in as many processes as there are GPUs, or in two where there is none.

    They train each run together (DistributedDataParallel).
    """
    count = "import torch; print(torch.cuda.device_count() or 2)"
    processes = str(session.run("python", "-c", count, silent=True)).split()[-1]
    if processes == "1":  # torchrun would give every failure the same exit code
        benchmark(session, *args)
        return
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node", processes, "-m", "benchmark"]
    threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(max(1, cores() // int(processes)))}
    session.run("python", "-m", *command, *args, env=threads)


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_report(session: nox.Session) -> None:
    """Write the report of the results folder that the session's arguments name, if they do."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--results")
    results = parser.parse_known_args(session.posargs)[0].results
    benchmark(session, "report", *(["--results", results] if results else []))


@session
def smoke(session: nox.Session) -> None:
    """Train four arms x 3 seeds on digits, attack, test, report: the whole path in 90 s."""
    install(session, extra="")
    records = str(SMOKE / "results")
    benchmark(session, "run", "smoke", "--force", "--results", records, *session.posargs)
    benchmark(session, "report", "--results", records, "--output", str(SMOKE / "RESULTS.md"))


@session
def cifar10(session: nox.Session) -> None:
    """The study on CIFAR-10 (downloaded, or found under the data root)."""
    study(session, "cifar10")


@session
def cifar100(session: nox.Session) -> None:
    """The study on CIFAR-100 (downloaded, or found under the data root)."""
    study(session, "cifar100")


@session
def cifar10_jpeg(session: nox.Session) -> None:
    """The study on CIFAR-10 re-saved as JPEG, a folder under the data root."""
    study(session, "cifar10_jpeg")


@session
def cifar10_jpeg_10k(session: nox.Session) -> None:
    """The study on 10,000 of those images, with as many training steps; the small network on every device."""
    study(session, "cifar10_jpeg_10k_cpu")


@session
def tiny_imagenet(session: nox.Session) -> None:
    """The study on 100 classes of Tiny ImageNet, a folder under the data root, by ImageNet's path."""
    study(session, "tiny_imagenet_100", together=True)


@session
def imagenet(session: nox.Session) -> None:
    """The study on ImageNet, folders under the data root: ResNet-50, on all GPUs of this machine."""
    study(session, "imagenet", together=True)


@session
def ablation(session: nox.Session) -> None:
    """One arm for each reading of SBA, on the validation split of a study (-- --preset NAME; else cifar10_jpeg)."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--preset", default="cifar10_jpeg")
    chosen, others = options.parse_known_args(session.posargs)
    study(session, chosen.preset, "--ablation", *others)


@session
def tuning(session: nox.Session) -> None:
    """Equal quasi-random search for every method of a study (-- --preset NAME; else cifar10_10k_cpu), and the best."""
    install(session)
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--preset", default="cifar10_10k_cpu")
    options.add_argument("--results")
    chosen, others = options.parse_known_args(session.posargs)
    records = ["--results", chosen.results] if chosen.results else []
    command = ["python", "-m", "benchmark", "run", chosen.preset, "--tuning", *records, *others]
    session.run(*command, success_codes=[0, 1])  # 1: a trial diverged, which is an outcome of the search
    if "--smoke" not in others:
        benchmark(session, "tune", chosen.preset, *(["--trials", chosen.results] if chosen.results else []))


@session
def crosscheck(session: nox.Session) -> None:
    """Our attacks beside other packages', on a study's trained runs (-- --preset NAME; else cifar10_jpeg)."""
    install(session)
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--preset", default="cifar10_jpeg")
    chosen, others = options.parse_known_args(session.posargs)
    benchmark(session, "crosscheck", chosen.preset, *others)
    write_report(session)


# What is tested by hand-made accidents instead: full disks, read-only folders, damaged files, failures, locks, signals.
DAMAGES = [
    *(f"tests/system/test_{name}.py" for name in ("full_disk", "bad_files")),
    "tests/benchmark/execution/test_failures.py",
    "tests/benchmark/execution/test_workers.py",
    "tests/benchmark/runtime/test_stopping.py",
]


@session
def faults(session: nox.Session) -> None:
    """Kill studies of digits at random moments, 200 times (-- --kills N), compare their records; then the damages."""
    install(session)
    session.run("python", "tests/support/faults.py", *session.posargs, env={"PYTHONPATH": "."})
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
    """Run the test suite and the doctests, one test a core at a time (-- --numprocesses 0: in one process)."""
    install(session)
    processes = ["--numprocesses", "auto", "--dist", "worksteal"]
    session.run("pytest", *processes, *session.posargs, env={"OMP_NUM_THREADS": "1"})


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


@session
def build(session: nox.Session) -> None:
    """Build the source distribution, and from it the wheel, into dist/."""
    install(session)
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")


@nox.session(venv_backend="virtualenv", reuse_venv=False, requires=["build"])
def wheel(session: nox.Session) -> None:
    """Install the wheel in an empty environment, use it from an empty folder (--force-python 3.13: by that Python)."""
    (built,) = Path("dist").resolve().glob("*.whl")
    session.install("--constraint", str(CONSTRAINTS), str(built))
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        session.run("python", "-c", "from sba import SBA")
        session.run("sba-benchmark", "run", "smoke")
        session.run("sba-benchmark", "report")


# An environment of its own: pip-audit's needs are newer than the project's pins.
@nox.session(venv_backend="virtualenv", reuse_venv=True)
def audit(session: nox.Session) -> None:
    """Look up every pinned package in a database of known vulnerabilities (-- options of pip-audit)."""
    if session.venv_backend != "none":
        session.install("pip-audit")
    report = session.cache_dir / "audit.json"
    report.unlink(missing_ok=True)
    options = f"--requirement {CONSTRAINTS} --no-deps --disable-pip --progress-spinner off --format json"
    command = ["pip-audit", *options.split(), "--output", str(report), *session.posargs]
    said = session.run(*command, silent=True, success_codes=[0, 1])
    if problem := audit_problem(report, str(said)):
        session.error(problem)
    session.log("All pinned packages were looked up; none has a known vulnerability.")


def audit_problem(report: Path, said: str) -> str:
    """Say why the pins do not pass, empty where each was looked up and none is vulnerable.

    pip-audit's exit code does not tell: behind a mirror that knows no vulnerabilities it skips every package and ends
    with 0, and 1 is both a vulnerability and a service that cannot be reached.

    Args:
        report: pip-audit's, as JSON; there is none where it broke off.
        said: what pip-audit printed.
    """
    if not report.exists():
        return f"Nothing was audited: pip-audit broke off. {(said.strip().splitlines() or ['It said nothing.'])[-1]}"
    packages = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    vulnerable = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none'}"
        for package in packages
        for found in package.get("vulns", [])
    ]
    if len(skipped) == len(packages):
        return f"Nothing was audited: the service knows none of the {len(packages)} packages, as where it is a mirror."
    missed = [f"{len(skipped)} of {len(packages)} packages were not audited: {', '.join(skipped)}"] if skipped else []
    return "\n".join([f"{len(vulnerable)} known vulnerabilities:", *vulnerable] * bool(vulnerable) + missed)


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

"""What packaging promises: pins for all that is installed, the contract's sessions, documents that agree."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import nox
import pytest
from nox import registry
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import noxfile
from benchmark.settings.load import preset_names

ROOT = Path(noxfile.__file__).parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED = [Requirement(line) for line in PROJECT["dependencies"]]
DEVELOPMENT = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"]]
CONTRACT = {"smoke", "cifar10", "cifar100", "cifar10_jpeg", "tiny_imagenet", "ablation", "speed", "results"}
CONTRACT |= {"tests", "lint", "types", "lock", "audit", "build", "wheel"}


def installed_below(requirement: Requirement, seen: set[str]) -> Iterator[str]:
    """Names of the requirement's distribution and of all that it requires, as far as they are installed."""
    name = canonicalize_name(requirement.name)
    for extra in ("", *requirement.extras):
        key = f"{name}[{extra}]"
        if key in seen:
            continue
        seen.add(key)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            return
        yield name
        for child in map(Requirement, lines):
            if child.marker is None or child.marker.evaluate({"extra": extra}):
                yield from installed_below(child, seen)


class RecordingSession:
    """Stands in for nox.Session and keeps what it was asked to install and run."""

    def __init__(self, folder: Path, *posargs: str, venv_backend: str = "shared") -> None:
        self.bin = str(folder / "bin")
        self.posargs = list(posargs)
        self.venv_backend = venv_backend
        self.installs = 0
        self.targets: list[str] = []
        self.ran: list[str] = []

    def log(self, _: str) -> None: ...

    def install(self, *args: str, silent: bool) -> None:
        self.installs += not silent
        self.targets.append(args[-1])

    def run(self, *args: str) -> None:
        self.ran.append(" ".join(args).removeprefix("python -m benchmark "))

    def run_install(self, *args: str, log: bool) -> None:
        subprocess.run([sys.executable, *args[1:]], check=not log)

    def as_nox(self) -> nox.Session:
        return cast("nox.Session", self)


def test_constraints_pin_every_installed_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {Requirement(line).name for line in lines if not line.startswith("#")}
    seen: set[str] = set()
    installed = {name for line in REQUIRED + DEVELOPMENT for name in installed_below(line, seen)}
    assert {name for name in installed - pinned if not noxfile.NOT_LISTED.fullmatch(name)} == set()


def test_nox_has_the_sessions_that_the_contract_and_the_documents_name() -> None:
    sessions = {name for name, session in registry.get().items() if session.func.__doc__}
    assert sessions >= CONTRACT
    for document in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        commands = re.findall(r"nox(?: --no-venv)? -s((?: [a-z]\w+)+)", (ROOT / document).read_text())
        named = {name for names in commands for name in names.split()}
        assert {"smoke", "tests"} <= named <= sessions, document


def test_documents_name_the_version() -> None:
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_all_sessions_get_the_same_environment() -> None:
    locations = {noxfile.shared_environment(f".nox/{name}").location for name in CONTRACT}
    assert len(locations) == 1


def test_pip_runs_again_only_when_what_is_installed_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("a==1")
    monkeypatch.setattr(noxfile, "INSTALLED_FROM", (constraints,))
    session = RecordingSession(tmp_path)
    noxfile.install(session.as_nox())
    noxfile.install(session.as_nox())
    assert session.installs == 1
    constraints.write_text("a==2")
    noxfile.install(session.as_nox())
    assert session.installs == 2
    noxfile.install(session.as_nox(), extra="")  # what development needs holds what a study needs
    assert session.installs == 2
    users_own = RecordingSession(tmp_path, venv_backend="none")
    noxfile.install(users_own.as_nox())
    assert users_own.installs == 0


def test_a_checkout_that_was_renamed_is_installed_again(tmp_path: Path) -> None:
    """Its environment's scripts and its editable installation lead to the old path."""
    before, after = tmp_path / "before", tmp_path / "after"
    environment = before / ".nox" / f"python-{sys.version_info.major}.{sys.version_info.minor}"
    (environment / "bin").mkdir(parents=True)
    session = RecordingSession(environment)
    noxfile.install(session.as_nox())
    noxfile.shared_environment(str(environment.with_name("tests")))
    noxfile.install(session.as_nox())
    assert session.installs == 1
    before.rename(after)
    moved = after / environment.relative_to(before)
    noxfile.shared_environment(str(moved.with_name("tests")))
    assert not moved.exists()


def test_the_smoke_study_installs_less_than_the_tests_and_the_tests_add_the_rest(tmp_path: Path) -> None:
    session = RecordingSession(tmp_path)
    noxfile.smoke(session.as_nox())
    noxfile.install(session.as_nox())
    noxfile.smoke(session.as_nox())
    assert session.targets == [".", ".[dev]"]


def test_a_study_is_one_command_that_also_reports_on_its_records(tmp_path: Path) -> None:
    session = RecordingSession(tmp_path, "--results", "r", "--seeds", "0", venv_backend="none")
    registry.get()["imagenet"].func(session.as_nox())
    assert session.ran == ["run imagenet --processes gpus --report --results r --seeds 0"]


def test_smoke_with_another_results_folder_reports_on_that_one(tmp_path: Path) -> None:
    session = RecordingSession(tmp_path, "--results", "elsewhere", venv_backend="none")
    noxfile.smoke(session.as_nox())
    assert session.ran == ["run smoke --force --results runs/smoke/results --report --results elsewhere"]


def test_every_study_of_the_table_is_a_session_of_a_preset() -> None:
    names = set(preset_names())
    for name, (arguments, about) in noxfile.STUDIES.items():
        assert registry.get()[name].func.__doc__ == about
        preset = arguments.split()[0]
        assert {preset, f"{preset}_cpu", f"{preset}_gpu"} & names


def test_every_pin_is_audited_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that pip-audit skips is one that nobody looked up; what it finds fails the session."""
    session = RecordingSession(tmp_path, "--vulnerability-service", "osv", venv_backend="none")
    noxfile.audit(session.as_nox())
    tool, *options = session.ran[0].split()
    assert tool == "pip-audit"
    assert {"--strict", "--no-deps", "--disable-pip", "constraints.txt"} <= set(options)
    assert options[-2:] == session.posargs

    def failing(*_: str) -> None:
        raise RuntimeError("Returned code 1")

    monkeypatch.setattr(session, "run", failing)
    with pytest.raises(RuntimeError, match="Returned code 1"):
        noxfile.audit(session.as_nox())

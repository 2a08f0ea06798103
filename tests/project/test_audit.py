"""`nox -s audit` passes only where every pinned package was looked up and none is vulnerable."""

import json
from pathlib import Path
from typing import Any, cast

import nox
import pytest

import noxfile

FINE: dict[str, Any] = {"name": "fine", "version": "1.0", "vulns": []}
SKIPPED = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}
BAD = {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}
UNFIXED = {"name": "worse", "version": "3.0", "vulns": [{"id": "PYSEC-2", "fix_versions": [], "aliases": []}]}


def problem(folder: Path, *packages: dict[str, Any]) -> str:
    path = folder / "audit.json"
    path.write_text(json.dumps({"dependencies": packages, "fixes": []}), encoding="utf-8")
    return noxfile.audit_problem(path, "")


def test_packages_that_were_all_looked_up_and_are_fine_pass(tmp_path: Path) -> None:
    assert problem(tmp_path, FINE, FINE) == ""


def test_every_vulnerability_is_named_with_its_way_out(tmp_path: Path) -> None:
    said = problem(tmp_path, FINE, BAD, UNFIXED)
    assert said.splitlines() == [
        "2 known vulnerabilities:",
        "bad 2.0: PYSEC-1, fixed in 2.1",
        "worse 3.0: PYSEC-2, fixed in none",
    ]


def test_a_package_that_was_skipped_does_not_pass(tmp_path: Path) -> None:
    assert problem(tmp_path, FINE, SKIPPED) == "1 of 2 packages were not audited: unknown"
    assert problem(tmp_path, BAD, SKIPPED).splitlines()[-1] == "1 of 2 packages were not audited: unknown"


def test_nothing_looked_up_is_nothing_audited(tmp_path: Path) -> None:
    """What pip-audit makes of a mirror, with exit code 0."""
    assert problem(tmp_path, SKIPPED, SKIPPED).startswith("Nothing was audited: the service knows none of the 2")


@pytest.mark.parametrize(
    ("said", "reason"),
    [("Traceback\n  ...\nConnectionError: no route\n", "ConnectionError: no route"), ("", "nothing")],
)
def test_a_service_that_cannot_be_reached_is_nothing_audited(tmp_path: Path, said: str, reason: str) -> None:
    told = noxfile.audit_problem(tmp_path / "absent.json", said)
    assert told.startswith("Nothing was audited: pip-audit broke off.")
    assert reason in told


class Session:
    """Stands in for nox.Session; pip-audit writes what it is given, or breaks off."""

    venv_backend = "none"
    posargs = ("--vulnerability-service", "osv")

    def __init__(self, folder: Path, packages: list[dict[str, Any]] | None) -> None:
        self.cache_dir, self.packages, self.logged = folder, packages, list[str]()

    def run(self, *command: str, silent: bool, success_codes: list[int]) -> str:
        assert command[-2:] == self.posargs
        assert "constraints.txt" in command
        assert (silent, success_codes) == (True, [0, 1])
        if self.packages is not None:
            Path(command[command.index("--output") + 1]).write_text(json.dumps({"dependencies": self.packages}))
        return "no route"

    def log(self, text: str) -> None:
        self.logged.append(text)

    def error(self, text: str) -> None:
        raise RuntimeError(text)


@pytest.mark.parametrize(
    ("packages", "said"), [(None, "Nothing was audited"), ([BAD], "PYSEC-1"), ([SKIPPED], "Nothing")]
)
def test_the_session_fails_with_the_problem(tmp_path: Path, packages: list[dict[str, Any]] | None, said: str) -> None:
    (tmp_path / "audit.json").write_text(json.dumps({"dependencies": [FINE]}))  # of an earlier audit
    with pytest.raises(RuntimeError, match=said):
        noxfile.audit(cast("nox.Session", Session(tmp_path, packages)))


def test_the_session_says_that_all_is_fine(tmp_path: Path) -> None:
    session = Session(tmp_path, [FINE])
    noxfile.audit(cast("nox.Session", session))
    assert "none has a known vulnerability" in session.logged[0]

"""`nox -s audit` lets pip-audit decide, strictly: a package that it skips is one that nobody looked up."""

from typing import cast

import nox
import pytest

import noxfile


class Session:
    """Stands in for nox.Session; pip-audit ends with a code."""

    venv_backend = "none"
    posargs = ("--vulnerability-service", "osv")

    def __init__(self, code: int) -> None:
        self.code, self.commands = code, list[tuple[str, ...]]()

    def run(self, *command: str) -> None:
        self.commands.append(command)
        if self.code:
            raise RuntimeError(f"Returned code {self.code}")


def test_every_pin_is_audited_strictly() -> None:
    session = Session(0)
    noxfile.audit(cast("nox.Session", session))
    (command,) = session.commands
    assert command[0] == "pip-audit"
    assert {"--strict", "--no-deps", "--disable-pip", "constraints.txt"} <= set(command)
    assert command[-2:] == Session.posargs


def test_what_pip_audit_finds_fails_the_session() -> None:
    with pytest.raises(RuntimeError, match="Returned code 1"):
        noxfile.audit(cast("nox.Session", Session(1)))

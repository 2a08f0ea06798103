"""claims.toml: what it states, and mistakes in it, each one message before anything is computed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from studies.saying import ONE_RUN, Say

from benchmark.analysis import claims
from benchmark.analysis.claims import OURS, load_claims
from benchmark.runtime.errors import UsageError


def test_the_file_names_what_there_is() -> None:
    paper = ["generalization", "convergence", "robustness", "soft label", "cost"]
    assert [claim.name for claim in load_claims() if claim.source != OURS] == paper
    assert all(claim.source == OURS or "abstract" in claim.source for claim in load_claims())


@pytest.fixture
def claims_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the file, which is read in its place."""
    path = tmp_path / "claims.toml"
    path.write_bytes(claims.FILE.read_bytes())
    monkeypatch.setattr(claims, "FILE", path)
    cached = (claims._file, load_claims)
    for function in cached:
        function.cache_clear()
    yield path
    for function in cached:
        function.cache_clear()


MISTAKES = {  # what a claim has beside name, statement and source -> what the message says of it
    'against = ["standrad"]\ndecides = ["clean"]': (
        "against = 'standrad': no such arm in the table [arms]; did you mean 'standard'"
    ),
    'against = ["erm"]\nalso = ["mixupp"]\ndecides = ["clean"]': (
        "also = 'mixupp': no such arm in the table [arms]; did you mean 'mixup'"
    ),
    'against = ["erm"]\ndecides = ["cleen"]': "decides.0 = 'cleen': there is no such endpoint; did you mean 'clean'",
    'against = ["erm"]\ncounts = ["flops"]': "counts.0 = 'flops': Input should be 'train_flops' or 'train_gradients'",
    'agianst = ["erm"]\ndecides = ["clean"]': "agianst: unknown key; did you mean 'against'",
    'against = ["erm"]': "decides = []: name either endpoints here or counts in `counts`.",
    'against = ["erm"]\nstudies = ["cifar10_cpu", "cifar10_gppu"]\ndecides = ["clean"]': (
        "studies = 'cifar10_gppu': there is no preset of this name; did you mean 'cifar10_gpu'"
    ),
    'against = ["erm"]\nstudies = ["cifar10_cpu"]\ndecides = ["clean"]': "studies = ['cifar10_cpu']: name two, which",
}


@pytest.mark.parametrize(("rest", "message"), MISTAKES.items())
def test_a_mistake_in_a_claim_names_file_claim_key_and_the_nearest(claims_file: Path, rest: str, message: str) -> None:
    with claims_file.open("a", encoding="utf-8") as file:
        file.write(f'\n[[claim]]\nname = "calibration"\nsays = "So."\nsource = "ours"\n{rest}\n')
    with pytest.raises(UsageError) as caught:
        load_claims()
    assert str(caught.value).startswith(f"{claims_file}: claims that are not allowed:\n  claim 'calibration': ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "cost"', 'name = "robustness"', "claim 'robustness': two claims have this name."),
        ("[[claim]]", "[[clame]]", "clame: unknown key; did you mean 'claim'"),
        ('{ method = "mixup" }', '{ metod = "mixup" }', "arms.mixup.metod: unknown key; did you mean 'method'"),
        ("[arms]", "[arms", "cannot read the claims"),
        ("[before]", "[before]\nday = 2026-01-01", "before.day = '2026-01-01': dates and times are not allowed"),
    ],
)
def test_a_mistake_in_the_file_is_one_message(claims_file: Path, old: str, new: str, message: str) -> None:
    claims_file.write_text(claims_file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(message)):
        load_claims()


@pytest.mark.usefixtures("elsewhere")
def test_commands_that_read_the_claims_refuse_them_before_anything_else(claims_file: Path, say: Say) -> None:
    claims_file.write_text("[arms]\n[before]\n[[claim]]\n", encoding="utf-8")
    Path("results").mkdir()
    for command in (("list", "claims"), ("report",), (*ONE_RUN, "--report"), (*ONE_RUN, "--smoke")):
        said = say(*command)
        assert said.code == 2
        assert said.has("claim 'number 1': name: is required and not there.")
    assert not list(Path().rglob("*.json"))

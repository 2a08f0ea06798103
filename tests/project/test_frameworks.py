"""The scripts of docs/frameworks.md are short, described and train a network; each row of sba/README.md has a test."""

import os
import re
import subprocess
import sys

import pytest
from studies.saying import PROJECT

FOLDER = PROJECT / "docs" / "frameworks"
RUNS = {
    "plain_pytorch": [],
    "with_lightning": [],
    "with_accelerate": [],
    "with_timm": [],
    "compiled": ["eager"],  # others need a C++ compiler
    "distributed": ["ddp"],
    "distributed (FSDP2)": ["fsdp2"],
}
# torchvision, which timm and torchmetrics import, may lack its operators here.
START = (
    "import runpy, sys; from benchmark.runtime.torchvision import ensure_importable; ensure_importable(); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_script_trains(name: str) -> None:
    script = str(FOLDER / f"{name.split()[0]}.py")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    start = launcher if name.startswith("distributed") else ["-c", START]
    done = subprocess.run(
        [sys.executable, *start, script, *RUNS[name]],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    (accuracy,) = re.findall(r"^accuracy ([\d.]+)$", done.stdout, re.MULTILINE)
    assert float(accuracy) > 0.8  # guessing: 0.1


def test_every_script_is_short_described_and_run() -> None:
    page = (PROJECT / "docs" / "frameworks.md").read_text(encoding="utf-8")
    scripts = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert scripts == sorted({name.split()[0] for name in RUNS})
    for name in scripts:
        assert len((FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 40, name
        assert f"\n[frameworks/{name}.py](frameworks/{name}.py)" in page


def test_every_row_of_what_works_has_a_test_that_exists() -> None:
    card = (PROJECT / "sba" / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^## What works\n\n(.*?)\n\n", card, re.MULTILINE | re.DOTALL)
    _, _, *rows = table.splitlines()
    assert len(rows) > 15
    for row in rows:
        found = re.fullmatch(r'\| [^|]+ \| [^|]+ \| \[\w+\.py\]\(\.\./(tests/[\w/]+\.py) "(test_\w+)"\) \|', row)
        assert found is not None, row
        text = (PROJECT / found[1]).read_text(encoding="utf-8")
        assert re.search(rf"^def {found[2]}\(", text, re.MULTILINE), row

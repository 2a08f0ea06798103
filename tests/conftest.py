"""What several tests share: tiny studies on digits, folders to work in, and the command line."""

import dataclasses
import errno
import gc
import hashlib
import json
import os
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from networks.attacked import trained_digits, written_digits
from networks.sanity_nets import judged
from processes.archive_server import Server, pack, serving
from processes.once import once
from studies.saying import Said, Say
from studies.tiny_study import ARMS, SEEDS, Study, path_of, random_states, read, run, work_in
from torch import nn

from benchmark.cli import main
from benchmark.data import cifar
from benchmark.data.load import Data, load_data
from benchmark.data.synthetic import write_cifar, write_image_folder
from benchmark.evaluation.joint import AttackedSet
from benchmark.execution import run as one_run
from benchmark.execution.files import Folders
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan
from benchmark.training import loop as train

gc.disable()  # until tests run: imports leave hardly any garbage, and looking for it takes a quarter of their time

# A shell starts what it puts into the background with Ctrl-C ignored, and nohup ignores a hang-up; both would pass on
# to what tests start and stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

TINY = (
    *("data.train_images=256", "recipe.epochs=2", "evaluation.images=32", "evaluation.batch_size=16"),
    *("evaluation.eps=[16.0]", "evaluation.attacks=[{name='fgsm', steps=1}, {name='apgd_dlr', steps=1}]"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden pages anew instead of comparing")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For `-m slow`, read the few files that have slow tests alone; None leaves the choice to pytest."""
    few = config.option.markexpr == "slow" and collection_path.suffix == ".py"
    return True if few and "mark.slow" not in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_finish() -> None:
    """From now on look for garbage, but not among the millions of objects that imports have made."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def digits() -> Data:
    """256 training digits and the 500 test digits."""
    return load_data(load_preset("smoke", TINY).data, [])


@pytest.fixture(scope="session")
def digits_net() -> nn.Module:
    """A network trained on all digits (about 95% correct), the same on every processor."""
    return trained_digits(0)


@pytest.fixture(scope="session")
def other_net() -> nn.Module:
    """The same kind of network from another seed, to transfer images from."""
    return trained_digits(1)


@pytest.fixture
def written(digits_net: nn.Module, digits: Data) -> AttackedSet:
    """96 handwritten digits and the trained network."""
    return written_digits(digits_net, digits)


@pytest.fixture
def judge(digits: Data) -> Callable[[nn.Module], AttackedSet]:
    """Give a maker of attacked sets: a network with the 64 digits it is judged on."""
    return partial(judged, digits)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures of a report out, which take most of its time."""
    monkeypatch.setattr("benchmark.report.build.drawings", lambda _study: {})
    monkeypatch.setattr("benchmark.report.build.answer_figure", lambda _studies: "<svg/>")


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Give a maker of runs: arm, seed, then overrides such as "recipe.epochs=3"."""

    def make(arm: str = "erm", seed: int = 0, *overrides: str) -> Run:
        return make_plan(load_preset("smoke", (*TINY, *overrides)), [arm], [seed])[0]

    return make


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "results", tmp_path / "runs")


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")


def record_study(folder: Path) -> None:
    """Run the tiny study; write its exit code and which global generators it left alone."""
    with pytest.MonkeyPatch.context() as patch:
        work_in(folder, folder / "cache", patch)
        import_module("sklearn.datasets")  # where rich is installed, it imports it, which draws a number
        before = random_states()
        code = run()
        same = [a == b for a, b in zip(before, random_states(), strict=True)]
    (folder / "outcome").write_text(json.dumps([code, same]))


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Four arms x two seeds, recorded once for all tests that only read, in whichever process."""
    folder = once(tmp_path_factory, "study", record_study)
    code, same = json.loads((folder / "outcome").read_text())
    records = {(arm, seed): read(path_of(arm, seed, folder / "results")) for arm in ARMS for seed in SEEDS}
    return Study(folder, records, code, tuple(same))


@pytest.fixture
def finished(study: Study, fresh: Path) -> Path:
    """A copy of the study's records and checkpoints, which a test may change."""
    for name in ("results", "runs"):
        shutil.copytree(study.folder / name, fresh / name)
    return fresh


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a cache folder of its own."""
    work_in(tmp_path, tmp_path / "cache", monkeypatch)
    return tmp_path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The (arm, seed) of every epoch that is trained from now on."""
    seen: list[tuple[str, int]] = []

    def counted(plan: Any, *arguments: Any, **named: Any) -> Any:
        seen.append((plan.arm, plan.seed))
        return train.train_epoch(plan, *arguments, **named)

    monkeypatch.setattr(one_run, "train_epoch", counted)
    return seen


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with a cache folder beside it."""
    here = tmp_path / "here"
    here.mkdir()
    work_in(here, tmp_path / "cache", monkeypatch)


@pytest.fixture
def photos(request: pytest.FixtureRequest) -> Path:
    """An image folder, photos: 4 classes, 20 + 8 images, whose pixels are made up."""
    request.getfixturevalue("elsewhere")
    return write_image_folder(Path("photos"), 4, train=20, test=8, pixels=10)


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Give a function that closes a folder: nothing in it can be looked up, as without the permission x."""
    look_up, closed = os.stat, list[Path]()

    def stat(path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        if isinstance(path, str | os.PathLike) and any(folder in Path(path).absolute().parents for folder in closed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look_up(path, *arguments, **named)

    monkeypatch.setattr(os, "stat", stat)
    return lambda folder: closed.append(folder.absolute())


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Return a caller of the command line, as a user types it, that never lets a traceback pass."""

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        try:
            code = main(list(arguments))
        except SystemExit as stop:  # argparse's
            code = int(str(stop.code))
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Said(code, printed.out, printed.err)

    return call


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that is the official site of both CIFAR data sets; no pause between tries to reach it."""
    ensure_importable()
    from torchvision import datasets as tv  # imported here: few tests need it

    with serving() as served:
        for kind in (tv.CIFAR10, tv.CIFAR100):
            monkeypatch.setattr(kind, "url", f"{served.url}/official/{kind.filename}")
        monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda _seconds: None))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.delenv("SBA_DATA_MIRROR", raising=False)
        yield served


def take_for_official(monkeypatch: pytest.MonkeyPatch, kind: Any, folder: Path) -> None:
    """Let the files in a folder be the official ones of a CIFAR data set for the rest of a test."""
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    for attribute in ("train_list", "test_list"):
        monkeypatch.setattr(kind, attribute, [[name, sums[name]] for name, _ in getattr(kind, attribute)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums[kind.meta["filename"]]})


@pytest.fixture
def official_cifar10(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Give a writer of made-up CIFAR-10 files into a data root, which are the official ones from then on."""
    ensure_importable()
    from torchvision import datasets as tv

    def write(root: Path) -> Path:
        folder = write_cifar(root, 10, 50, 20)
        take_for_official(monkeypatch, tv.CIFAR10, folder)
        return folder

    return write


@pytest.fixture
def official(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """Give a maker of a tiny CIFAR archive that is from now on the official one, on the server."""
    from torchvision import datasets as tv

    def make(*odd: tarfile.TarInfo, kind: Any = tv.CIFAR10) -> bytes:
        folder = write_cifar(tmp_path / "made up", 100 if kind is tv.CIFAR100 else 10, train=50, test=10)
        take_for_official(monkeypatch, kind, folder)
        server.content["archive"] = pack(folder, *odd)
        monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(server.content["archive"]).hexdigest())
        row = getattr(cifar, kind.__name__)
        monkeypatch.setattr(cifar, kind.__name__, dataclasses.replace(row, archive=len(server.content["archive"])))
        return server.content["archive"]

    return make

"""Bad input: one message that says what was wrong, where and what is allowed, one exit code, never a traceback."""

import json
import os
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.attacks import attack_copy, attack_jointly
from benchmark.cli import main
from benchmark.datasets import Source, Split
from benchmark.errors import BenchmarkError
from benchmark.models import build_model
from benchmark.preset_files import load_preset
from benchmark.synthetic import write_cifar, write_image_folder

PROJECT = Path(__file__).resolve().parent.parent
ONE_RUN = ("run", "smoke", "--arms", "erm", "--seeds", "0")
TINY = ("--set", "recipe.epochs=1", "--set", "data.train_images=128", "--set", "evaluation.images=16")
JPEG = ("run", "cifar10_jpeg_cpu", "--arms", "erm", "--seeds", "0")
CIFAR = ("run", "cifar10_cpu", "--arms", "erm", "--seeds", "0")


class Said(NamedTuple):
    """What a command printed and how it ended."""

    code: int
    out: str
    error: str

    def has(self, *parts: str) -> bool:
        """Whether the message has all parts."""
        missing = [part for part in parts if part not in self.error]
        assert not missing, f"{missing} not in: {self.error}"
        return True


Say = Callable[..., Said]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with a cache folder of its own and no data root."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SBA_DATA_ROOT", raising=False)


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


def in_a_process(*arguments: str) -> Said:
    """Run the command in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def preset_file(text: str, name: str = "mine.toml") -> str:
    """Write the user's own preset."""
    Path(name).write_text(text, encoding="utf-8")
    return name


# Names that do not exist


def test_unknown_preset_names_the_nearest(say: Say) -> None:
    said = say("run", "smokee")
    assert said.code == 2
    assert said.has("'smokee'", "did you mean 'smoke'?", "cifar10_jpeg_cpu", ".toml")


def test_unknown_preset_in_a_process_ends_with_2_and_no_traceback() -> None:
    said = in_a_process("run", "smokee")
    assert said.code == 2
    assert said.has("error: ", "did you mean 'smoke'?")
    assert "Traceback" not in said.error


def test_unknown_arm_names_the_nearest(say: Say) -> None:
    said = say("run", "smoke", "--arms", "erm,standart")
    assert said.code == 2
    assert said.has("smoke", "'standart'", "did you mean 'standard'?", "erm, mixup, sba, standard")


def test_unknown_key_names_file_and_nearest_key(say: Say) -> None:
    mine = preset_file('extends = "smoke"\n[recipe]\nepoch = 3\n')
    said = say("run", mine)
    assert said.code == 2
    assert said.has("mine.toml", "recipe.epoch", "did you mean 'epochs'?", "batch_size")


def test_unknown_section_names_the_nearest(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "recpie.epochs=3")
    assert said.code == 2
    assert said.has("recpie", "did you mean 'recipe'?", "evaluation")


def test_unknown_setting_of_a_method_names_the_nearest(say: Say) -> None:
    said = say("run", "smoke", "--set", "arms.sba.settings.copys=3")
    assert said.code == 2
    assert said.has("arms.sba.settings.copys", "'sba'", "did you mean 'copies'?", "noise")


NAMES = {
    "method": ("arms.sba.method", "sbaa", "'sba'"),
    "dataset": ("data.dataset", "digitz", "'digits'"),
    "model": ("model.name", "smal", "'small'"),
    "attack": ("evaluation.attacks", "apgd_dlrr", "'apgd_dlr'"),
}


def toml_with(kind: str, name: str) -> str:
    """A preset in which one name is wrong."""
    lines = {
        "method": f'[arms.sba]\nmethod = "{name}"',
        "dataset": f'[data]\ndataset = "{name}"',
        "model": f'[model]\nname = "{name}"',
        "attack": f'[evaluation]\nattacks = [{{ name = "{name}", steps = 2 }}]',
    }
    return f'extends = "smoke"\n{lines[kind]}\n'


@pytest.mark.parametrize("kind", NAMES)
def test_unknown_name_of_a_kind_names_the_nearest(say: Say, kind: str) -> None:
    _, wrong, near = NAMES[kind]
    said = say("run", preset_file(toml_with(kind, wrong)))
    assert said.code == 2
    assert said.has(f"'{wrong}'", f"did you mean {near}", "Allowed: ")


@pytest.mark.parametrize("kind", NAMES)
def test_unknown_name_of_a_kind_names_file_and_key(say: Say, kind: str) -> None:
    key, wrong, _ = NAMES[kind]
    said = say("run", preset_file(toml_with(kind, wrong)))
    assert said.code == 2
    assert said.has("mine.toml", key)


def test_preset_that_extends_an_unknown_one_names_file_and_nearest(say: Say) -> None:
    said = say("run", preset_file('extends = "smok"\ntitle = "mine"\n'))
    assert said.code == 2
    assert said.has("mine.toml", "extends", "'smok'", "did you mean 'smoke'?")


def test_comparison_with_an_arm_that_is_not_there_names_key_and_nearest(say: Say) -> None:
    said = say("run", preset_file('extends = "smoke"\n[analysis]\nagainst = ["standart"]\n'))
    assert said.code == 2
    assert said.has("mine.toml", "analysis.against", "'standart'", "did you mean 'standard'?")


def test_unknown_kind_of_list_names_the_kinds(say: Say) -> None:
    said = say("list", "preset")
    assert said.code == 2
    assert said.has("'preset'", "presets", "datasets", "attacks")


def test_unknown_option_is_named(say: Say) -> None:
    said = say("run", "smoke", "--sedes", "0")
    assert said.code == 2
    assert said.has("--sedes")


# Values


@pytest.mark.parametrize(
    ("setting", "key", "value", "allowed"),
    [
        ("recipe.epochs=many", "recipe.epochs", "'many'", "integer"),
        ("recipe.epochs=2.5", "recipe.epochs", "2.5", "integer"),
        ("recipe.flip=perhaps", "recipe.flip", "'perhaps'", "boolean"),
        ("recipe=3", "recipe", "3", ""),
        ("recipe.epochs=0", "recipe.epochs", "0", "greater than or equal to 1"),
        ("recipe.batch_size=0", "recipe.batch_size", "0", "greater than or equal to 1"),
        ("recipe.momentum=1.5", "recipe.momentum", "1.5", "less than 1"),
        ("recipe.learning_rate=-0.1", "recipe.learning_rate", "-0.1", "greater than 0"),
        ("recipe.learning_rate=nan", "recipe.learning_rate", "nan", "finite"),
        ("recipe.precision=float16", "recipe.precision", "'float16'", "'float32' or 'bfloat16'"),
        ("arms.erm.augmentation=crop", "arms.erm.augmentation", "'crop'", "'none' or 'standard'"),
        ("evaluation.eps=[16.0, 0.0]", "evaluation.eps", "0.0", "greater than 0"),
        ("evaluation.images=0", "evaluation.images", "0", "greater than or equal to 1"),
    ],
)
def test_wrong_value_names_file_key_value_and_what_is_allowed(
    say: Say, setting: str, key: str, value: str, allowed: str
) -> None:
    said = say(*ONE_RUN, "--set", setting)
    assert said.code == 2
    assert said.has("smoke.toml", key, value, allowed)
    assert not list(Path().rglob("*.json"))


def test_wrong_value_in_a_file_names_that_file(say: Say) -> None:
    said = say("run", preset_file('extends = "smoke"\n[recipe]\nepochs = 0\n'))
    assert said.code == 2
    assert said.has("mine.toml", "recipe.epochs = 0", "greater than or equal to 1")


def test_wrong_value_of_a_method_names_key_value_and_range(say: Say) -> None:
    said = say("run", "smoke", "--set", "arms.sba.settings.p=1.5")
    assert said.code == 2
    assert said.has("arms.sba.settings", "p ", "1.5", "0 to 1")


def test_batch_larger_than_the_data_names_both_numbers_before_training(say: Say) -> None:
    said = say(*ONE_RUN, *TINY, "--set", "recipe.batch_size=500")
    assert said.code == 2
    assert said.has("recipe.batch_size", "500", "128", "digits")
    assert "epoch 1" not in said.out


def test_more_attacked_images_than_the_test_set_has_are_refused_before_training(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "recipe.epochs=1", "--set", "evaluation.images=501")
    assert said.code == 2
    assert said.has("evaluation.images", "501", "500", "digits")
    assert "epoch 1" not in said.out


def test_more_training_images_than_there_are_names_both_numbers(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "data.train_images=5000")
    assert said.code == 2
    assert said.has("data.train_images", "5000", "1297", "digits")


def test_image_size_that_the_data_set_does_not_have_names_the_one_it_has(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "data.pixels=16")
    assert said.code == 2
    assert said.has("data.pixels", "16", "8")


def test_network_that_the_images_are_too_small_for_is_refused_by_name(say: Say) -> None:
    said = say(*ONE_RUN, *TINY, "--set", "model.name=fast")
    assert said.code == 2
    assert said.has("fast", "8")


def test_set_without_equals_sign_shows_how_to_write_it(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "recipe.epochs")
    assert said.code == 2
    assert said.has("--set", "'recipe.epochs'", "recipe.epochs=5")


def test_set_below_a_list_is_refused(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "seeds.0=5")
    assert said.code == 2
    assert said.has("--set", "seeds", "section")


@pytest.mark.parametrize("text", ["zero", "0,one", "5-1", "1.5", "-1"])
def test_seeds_that_are_no_numbers_show_how_to_write_them(say: Say, text: str) -> None:
    said = say("run", "smoke", f"--seeds={text}")
    assert said.code == 2
    assert said.has("--seeds", f"'{text}'", "0,1,2 or 0-9")


def test_seed_that_the_preset_does_not_name_is_refused(say: Say) -> None:
    said = say("run", "smoke", "--seeds", "7")
    assert said.code == 2
    assert said.has("smoke", "0, 1, 2", "7")


@pytest.mark.parametrize("option", ["--arms", "--seeds"])
def test_empty_selection_is_refused_by_the_options_name(say: Say, option: str) -> None:
    said = say("run", "smoke", option, ",")
    assert said.code == 2
    assert said.has(option)


# Layers


def test_layer_that_is_not_there_names_near_ones_and_those_there_are(say: Say) -> None:
    said = say("run", "smoke", "--arms", "sba", "--seeds", "0", "--set", 'arms.sba.settings.layers=["blok1"]')
    assert said.code == 2
    assert said.has("sba", "'blok1'", "small", "'block1'", "stem", "block2")


def test_layer_that_is_not_there_is_found_before_any_arm_trains(say: Say) -> None:
    said = say("run", "smoke", *TINY, "--seeds", "0", "--set", 'arms.sba.settings.layers=["blok1"]')
    assert said.code == 2
    assert said.has("'blok1'")
    assert "epoch 1" not in said.out


# Presets


def test_toml_syntax_error_names_file_and_line(say: Say) -> None:
    said = say("run", preset_file('title = "x"\n[recipe\nepochs = 1\n'))
    assert said.code == 2
    assert said.has("mine.toml", "line 2")


def test_preset_that_is_not_there_is_named(say: Say) -> None:
    said = say("run", "folder/nothing.toml")
    assert said.code == 2
    assert said.has("folder/nothing.toml", "No such file")


def test_preset_that_is_a_folder_is_named(say: Say) -> None:
    Path("mine.toml").mkdir()
    said = say("run", "mine.toml")
    assert said.code == 2
    assert said.has("mine.toml", "directory")


def test_preset_that_is_no_text_is_named(say: Say) -> None:
    Path("mine.toml").write_bytes(b"\xff\xfe\x00")
    said = say("run", "mine.toml")
    assert said.code == 2
    assert said.has("mine.toml")


@pytest.mark.parametrize("name", ["../outside", "Upper Case", "", "a/b", ".hidden"])
def test_preset_name_that_is_no_folder_name_is_refused(say: Say, name: str) -> None:
    said = say("run", preset_file(f'extends = "smoke"\nname = "{name}"\n'))
    assert said.code == 2
    assert said.has("mine.toml", "name", f"'{name}'")
    assert sorted(path.name for path in Path().resolve().parent.iterdir()) == ["here"]


def test_arm_name_with_a_path_in_it_is_refused(say: Say) -> None:
    arm = '[arms."../outside"]\nmethod = "erm"\naugmentation = "none"\n'
    said = say("run", preset_file(f'extends = "smoke"\n{arm}'))
    assert said.code == 2
    assert said.has("mine.toml", "arms", "'../outside'")
    assert sorted(path.name for path in Path().iterdir()) == ["mine.toml"]


# Devices, and options that do not go together


@pytest.mark.parametrize("name", ["coda", "cuda:x", "", "meta"])
def test_unknown_device_names_the_allowed_ones(say: Say, name: str) -> None:
    said = say(*ONE_RUN, "--device", name)
    assert said.code == 2
    assert said.has("--device", f"'{name}'", "auto, cpu, cuda")


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_device_where_there_is_none_says_so(say: Say, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    said = say(*ONE_RUN, "--device", name)
    assert said.code == 2
    assert said.has(f"--device {name}", "0 CUDA devices", "--device cpu")


def test_synthetic_without_smoke_is_refused(say: Say) -> None:
    said = say("run", "cifar10_cpu", "--synthetic")
    assert said.code == 2
    assert said.has("--synthetic", "--smoke")
    assert list(Path().iterdir()) == []


# Data


def no_network(*_arguments: object, **_named: object) -> NoReturn:
    """A machine without a network."""
    raise urllib.error.URLError("no network in tests")


def test_missing_data_says_where_it_looked_in_order_how_to_get_it_and_its_size(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, variable = tmp_path / "named", tmp_path / "variable"
    for folder in (named, variable):
        folder.mkdir()
    monkeypatch.setenv("SBA_DATA_ROOT", str(variable))
    said = say(*JPEG, "--data-root", str(named))
    assert said.code == 3
    looked = [f"{named}/", f"{variable}/", "data/cifar10-jpeg", f"{tmp_path}/cache/"]
    assert said.has("cifar10-jpeg", "git clone https://", "GB", "--data-root", "SBA_DATA_ROOT", *looked)
    places = [line.strip() for line in said.error.splitlines() if line.startswith("  ")]
    assert [place.startswith(start) for place, start in zip(places, looked, strict=True)] == [True] * 4


def test_missing_tiny_imagenet_says_where_to_get_it(say: Say) -> None:
    said = say("run", "tiny_imagenet_100_cpu")
    assert said.code == 3
    assert said.has("tiny-imagenet-100", "data/tiny-imagenet-100", "GB", "http")


@pytest.mark.parametrize(("preset", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_download_that_fails_says_where_it_looked_and_why(
    say: Say, monkeypatch: pytest.MonkeyPatch, preset: str, folder: str
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    said = say("run", f"{preset}_cpu")
    assert said.code == 3
    assert said.has(f"data/{folder}", "MB", "no network in tests", "--data-root", "SBA_DATA_ROOT")


def test_missing_data_in_a_process_ends_with_3_and_no_traceback() -> None:
    said = in_a_process(*JPEG)
    assert said.code == 3
    assert said.has("error: ", "cifar10-jpeg", "data/cifar10-jpeg")
    assert "Traceback" not in said.error


def test_data_root_that_does_not_exist_is_named_with_its_option(say: Say, tmp_path: Path) -> None:
    said = say(*JPEG, "--data-root", str(tmp_path / "nowhere"))
    assert said.code == 3
    assert said.has("--data-root", f"{tmp_path}/nowhere")


def test_data_root_variable_that_names_a_file_is_named(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    monkeypatch.setenv("SBA_DATA_ROOT", "file")
    said = say(*JPEG)
    assert said.code == 3
    assert said.has("SBA_DATA_ROOT", "file")


def test_own_folder_that_is_no_image_folder_says_what_one_looks_like(say: Say) -> None:
    said = say(*JPEG, "--set", "data.dataset=./photos")
    assert said.code == 3
    assert said.has("photos", "train/", "test/", "val/")


def test_own_folder_whose_splits_have_other_classes_names_them(say: Say) -> None:
    write_image_folder(Path("photos"), 3, 6, 6, 32)
    Path("photos/test/class002").rename("photos/test/dog")
    said = say(*JPEG, "--set", "data.dataset=./photos")
    assert said.code == 3
    assert said.has("photos", "class002", "dog")


def test_truncated_image_is_named(say: Say) -> None:
    write_image_folder(Path("data/cifar10-jpeg"), 10, 20, 10, 32)
    broken = sorted(Path("data/cifar10-jpeg/train").rglob("*.jpg"))[7]
    broken.write_bytes(broken.read_bytes()[:300])
    said = say(*JPEG)
    assert said.code == 3
    assert said.has(str(broken))


def test_image_file_that_is_no_image_is_named(say: Say) -> None:
    write_image_folder(Path("data/cifar10-jpeg"), 10, 20, 10, 32)
    broken = sorted(Path("data/cifar10-jpeg/test").rglob("*.jpg"))[3]
    broken.write_text("not an image", encoding="utf-8")
    said = say(*JPEG)
    assert said.code == 3
    assert said.has(str(broken))


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes of PNG whose header promises a picture of this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_image_that_would_fill_the_memory_is_named(say: Say) -> None:
    write_image_folder(Path("data/cifar10-jpeg"), 10, 20, 10, 32)
    huge = Path("data/cifar10-jpeg/train/class000/huge.png")
    huge.write_bytes(png_that_claims(100_000, 100_000))
    said = say(*JPEG)
    assert said.code == 3
    assert said.has(str(huge))


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_truncated_cifar_file_is_named(say: Say, name: str) -> None:
    broken = write_cifar(Path("data"), 10, 50, 20) / name
    broken.write_bytes(broken.read_bytes()[:-20])
    said = say(*CIFAR)
    assert said.code == 3
    assert said.has("CIFAR-10", "cifar-10-batches-py", name)
    assert "data_batch_1" not in said.error


def test_cifar_file_that_is_not_there_is_named(say: Say) -> None:
    (write_cifar(Path("data"), 10, 50, 20) / "data_batch_5").unlink()
    said = say(*CIFAR)
    assert said.code == 3
    assert said.has("cifar-10-batches-py", "data_batch_5")


def test_files_with_other_checksums_are_not_taken_for_the_official_cifar(say: Say) -> None:
    folder = write_cifar(Path("data"), 10, 50, 20)
    (folder / "SYNTHETIC.json").unlink()
    said = say(*CIFAR)
    assert said.code == 3
    assert said.has("cifar-10-batches-py", "data_batch_1", "checksum")


def float_digits(_roots: object, _pixels: int) -> Source:
    """A data set that hands out pixels from 0 to 255 as floats."""

    def split(n: int) -> Split:
        return Split(torch.linspace(0, 255, n * 64).reshape(n, 1, 8, 8), torch.arange(n) % 10)

    return Source(None, [str(i) for i in range(10)], lambda: (split(200), split(100)))


def test_data_set_with_images_outside_the_range_is_refused_before_training(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.DATASETS, "digits", registry.Row(f"{__name__}:float_digits", "floats"))
    said = say(*ONE_RUN, *TINY)
    assert said.code == 3
    assert said.has("digits", "uint8", "255")
    assert "epoch 1" not in said.out


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-1.0, 1.0)])
def test_attacks_refuse_images_outside_the_range(low: float, high: float) -> None:
    images = torch.from_numpy(np.linspace(low, high, 16 * 64, dtype=np.float32)).reshape(16, 1, 8, 8)
    labels = torch.arange(16) % 10
    model = attack_copy(build_model("small", torch.zeros(16, 1, 8, 8, dtype=torch.uint8), 10, 0))
    settings = load_preset("smoke").evaluation
    with pytest.raises(BenchmarkError, match=r"\[0, 1\]"):
        attack_jointly(model, images, labels, labels >= 0, settings, 0, lambda _text: None)


# Folders and records


@pytest.mark.parametrize("option", ["--results", "--runs"])
@pytest.mark.parametrize("folder", ["file/below", "/proc/nowhere"])
def test_folder_that_cannot_be_written_is_named_before_training(say: Say, option: str, folder: str) -> None:
    if folder.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc on this system")
    Path("file").touch()
    said = say(*ONE_RUN, *TINY, option, folder)
    assert said.code == 2
    assert said.has("cannot write", folder, option)
    assert "epoch 1" not in said.out


def test_results_folder_that_cannot_be_written_in_a_process_has_no_traceback() -> None:
    Path("file").touch()
    said = in_a_process(*ONE_RUN, "--results", "file/below")
    assert said.code == 2
    assert said.has("error: cannot write to file/below")
    assert "Traceback" not in said.error


def test_report_that_cannot_be_written_is_named(say: Say) -> None:
    Path("file").touch()
    assert say(*ONE_RUN, *TINY).code == 0
    said = say("report", "--output", "file/RESULTS.md")
    assert said.code == 2
    assert said.has("cannot write", "file/RESULTS.md")


@pytest.fixture
def record(say: Say) -> Path:
    """The record of a tiny run."""
    assert say(*ONE_RUN, *TINY).code == 0
    return Path("results/smoke/erm/seed-0.json")


def test_record_made_with_other_settings_names_what_differs(say: Say, record: Path) -> None:
    before = record.read_bytes()
    said = say(*ONE_RUN, *TINY, "--set", "recipe.learning_rate=0.01")
    assert said.code == 2
    assert said.has(str(record), "recipe.learning_rate", "0.05", "0.01", "--results", "--force")
    assert "recipe.epochs" not in said.error
    assert record.read_bytes() == before


DAMAGE: dict[str, Callable[[str], str]] = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda _text: "",
    "a list": lambda _text: "[]",
    "another schema": lambda text: json.dumps(json.loads(text) | {"schema": 999}),
    "a field gone": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "clean"}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_record_is_named_with_the_way_out(say: Say, record: Path, damage: str) -> None:
    record.write_text(DAMAGE[damage](record.read_text(encoding="utf-8")), encoding="utf-8")
    for command in ([*ONE_RUN, *TINY], ["report"], ["report", "--check"]):
        said = say(*command)
        assert said.code == 1
        assert said.has(str(record), "Delete it")


def test_record_whose_outcome_bits_are_damaged_is_named(say: Say, record: Path) -> None:
    values = json.loads(record.read_text(encoding="utf-8"))
    values["clean"]["correct"] = values["clean"]["correct"][:8]
    record.write_text(json.dumps(values), encoding="utf-8")
    said = say("report")
    assert said.code != 0
    assert said.has("smoke/erm/seed-0.json")


def test_damaged_checkpoint_is_named_with_the_way_out(say: Say, record: Path) -> None:
    record.unlink()
    checkpoint = next(Path("runs").rglob("*.pt"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    said = say(*ONE_RUN, *TINY)
    assert said.code in (1, 2)
    assert said.has(str(checkpoint), "Delete it")

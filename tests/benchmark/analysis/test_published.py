"""Published figures: the file, its table without a study, and its errors."""

from pathlib import Path

import pytest
from records.published_studies import ACCURACIES, ERRORS

from benchmark.analysis.published import FILE, load_published
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset


def test_the_file_has_every_figure_as_it_was_published() -> None:
    found: dict[str, dict[str, list[float]]] = {"error": {}, "accuracy": {}}
    for figure in load_published(FILE).figures.values():
        found[figure.quantity].setdefault(figure.source, []).append(figure.value)
    assert found == {"error": ERRORS, "accuracy": ACCURACIES}


def test_names_are_ours_where_we_have_them() -> None:
    figures = load_published(FILE).figures.values()
    presets = [load_preset(name) for name in ("cifar10_gpu", "cifar100_gpu")]
    methods = {arm.method for preset in presets for arm in preset.arms.values()}
    assert {figure.method for figure in figures} - methods == {"label smoothing, Lookahead"}
    assert {preset.model.name for preset in presets} <= set(load_published(FILE).networks)
    datasets = load_published(FILE).datasets
    assert {preset.data.dataset for preset in presets} <= set(datasets)
    assert {data.version_of for data in datasets.values()} - {None} <= set(datasets)
    suite = [figure.attack.suite for figure in figures if figure.attack]
    assert suite == [presets[0].evaluation.attacks]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value = 5.53", "value = 105.53", r"figures\.mixup_erm_1e-4\.value: Input should be less than"),
        ("value = 5.53", 'value = "5.53"', r"figures\.mixup_erm_1e-4\.value: Input should be a valid number"),
        ("value = 5.53", "", r"figures\.mixup_erm_1e-4\.value: Field required"),
        ("value = 5.53", "vallue = 5.53", r"figures\.mixup_erm_1e-4\.vallue: Extra inputs are not permitted"),
        ("epochs = 200,", "epochs = 0,", r"figures\.mixup_erm_1e-4\.protocol\.epochs: .*greater than 0"),
        (
            'reported = "median of ',
            'reported = "last of ',
            r"figures\.mixup_erm_1e-4\.protocol\.reported: .*'last epoch'",
        ),
        ('quantity = "error"', 'quantity = "loss"', r"figures\.mixup_erm_1e-4\.quantity: .*'error' or 'accuracy'"),
        ("spread = 0.066", "spread = -0.1", r"figures\.manifold_none_cifar10\.spread: .*equal to 0"),
        ("eps = 8.0", "eps = 0.0", r"figures\.robustbench_robust\.attack\.eps: .*greater than 0"),
        ('source = "mixup"', 'source = "mixing"', r"figures\.mixup_erm_1e-4\.source = 'mixing'.*\[sources\].*'mixup'"),
        ('dataset = "cifar10"', 'dataset = "cifar"', r"mixup_erm_1e-4\.dataset = 'cifar'.*\[datasets\].*'cifar10'"),
        ('network = "preact_resnet18"', 'network = "r"', r"mixup_erm_1e-4\.network = 'r'.*\[networks\].*resnet18"),
        ('title = "ImageNet"', "", r"datasets\.imagenet\.title: Field required"),
        ("[sources]", "[sources", r"cannot read .*bad\.toml: .*line"),
    ],
)
def test_errors_name_the_file_the_figure_and_the_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert old in text
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=message) as caught:
        load_published(bad)
    assert "bad.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.toml: "):
        load_published(tmp_path / "none.toml")

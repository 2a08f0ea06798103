"""Published figures: the file, its table without a study, and its errors."""

from pathlib import Path

import pytest
from published_studies import ACCURACIES, ERRORS

from benchmark.analysis.published import FILE, load_published, note, published_table
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


def test_every_published_number_is_in_its_row_as_accuracy() -> None:
    rows = published_table([]).rows
    assert len(rows) == 21
    for figure, row in zip(load_published(FILE).figures.values(), rows, strict=True):
        shown = row[5]
        if figure.quantity == "error":
            assert shown.startswith(f"{100 - figure.value:.2f}")
            assert shown.endswith(f"(error {figure.value:.2f})")
        else:
            assert shown.startswith(f"{figure.value:.2f}")
        assert (f" ± {figure.spread}" in shown) == (figure.spread is not None)
        assert shown.endswith(" robust") == (figure.attack is not None)


def test_the_table_is_markdown_of_seven_columns_and_the_note_says_how_to_read_it() -> None:
    lines = str(published_table([])).splitlines()
    assert len(lines) == 2 + 21
    assert {line.count("|") for line in lines} == {8}
    first = [cell.strip() for cell in lines[2].split("|")]
    assert first[2:8] == [
        "CIFAR-10",
        "PreActResNet-18",
        "`erm`, standard",
        "200 epochs, batch 128, weight decay 0.0001, median of last 10 epochs",
        "94.47 (error 5.53)",
        "not comparable: no study of CIFAR-10 was run",
    ]
    assert "1710.09412" in first[1]
    assert "100 - error" in note()
    assert "(Li et al., arXiv:2006.15284) were not available" in note()


def test_protocols_of_attacked_costly_and_unknown_figures() -> None:
    names = list(load_published(FILE).figures)
    protocols = {name: row[4] for name, row in zip(names, published_table([]).rows, strict=True)}
    assert protocols["robustbench_clean"] == "not given"
    assert protocols["robustbench_robust"] == "AutoAttack at Linf 8/255"
    assert protocols["manifold_cifar100"] == "1200 epochs, batch 100, weight decay 0.0001, 5 runs"
    assert protocols["airbench94"] == ("9.9 epochs, batch 1024, last epoch, 1000 runs, 3.83 s, 0.36 PFLOP on one A100")


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

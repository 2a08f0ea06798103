"""Published figures beside ours, read from published.toml: our figure where a study matches, else the differences."""

import json
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from benchmark.analysis.paired import Floats
from benchmark.analysis.study import Study
from benchmark.runtime.errors import UsageError, nearest
from benchmark.settings.preset import Attack, Recipe
from benchmark.settings.values import Batch, Images, Name, NotNegative, PixelsOrZero, Positive, Settings

FILE = Path(__file__).with_name("published.toml")
Reported = Literal["last epoch", "median of last 5 epochs", "median of last 10 epochs", "best test epoch"]
MEDIAN_OF: dict[Reported, int] = {"median of last 5 epochs": 5, "median of last 10 epochs": 10}


class Protocol(Settings):
    """How a published figure was trained and read; None where its source gives no value. `epochs` may be a fraction."""

    epochs: Positive | None = None
    batch_size: Batch | None = None
    weight_decay: NotNegative | None = None
    padding: PixelsOrZero | None = None
    reported: Reported | None = None
    runs: Annotated[int, Field(ge=1)] | None = None
    note: str | None = None


class Attacked(Settings):
    """The attacks of a robust figure: their name, Linf eps in units of 1/255, and the suite in our names."""

    name: str
    eps: Positive
    suite: Annotated[tuple[Attack, ...], Field(min_length=1)]


class Figure(Settings):
    """One published figure in %: an error or an accuracy, under the `attack` where there is one, else clean."""

    source: str
    dataset: str
    network: str
    method: str
    settings: Annotated[dict[str, Any], Field(default_factory=dict)]
    augmentation: str | None = None
    quantity: Literal["error", "accuracy"]
    value: Annotated[float, Field(ge=0, le=100)]
    spread: NotNegative | None = None
    protocol: Protocol
    attack: Attacked | None = None


class DataSet(Settings):
    """A data set's name and size; `version_of` names the data set that it is an altered version of.

    `note` is printed beside its results. Without a size no published figure can be compared with it.
    """

    title: str
    train_images: Images | None = None
    test_images: Images | None = None
    version_of: str | None = None
    note: str | None = None


class Published(Settings):
    """The whole file: how to read it, a note on the paper itself, published names and the figures."""

    note: str
    paper: str
    sources: dict[Name, str]
    networks: dict[Name, str]
    datasets: dict[Name, DataSet]
    figures: Annotated[dict[str, Figure], Field(min_length=1)]


class Ours(NamedTuple):
    """Our figure of an arm that matches a published one: a value for each seed, in %.

    `medians`: the median of the last epochs of the same runs, where the published figure is one.
    """

    study: Study
    values: Floats
    medians: Floats | None = None


class Difference(NamedTuple):
    """A difference between a study and a published figure: its kind, our value and theirs, None where there is none."""

    kind: str
    ours: Any = None
    theirs: Any = None


class Row(NamedTuple):
    """A published figure, ours from every study that matches it, and the closest of the studies that do not.

    `closest` is None where no study of the data set differs from the figure; `differs` are its differences.
    """

    figure: Figure
    ours: tuple[Ours, ...]
    closest: Study | None
    differs: tuple[Difference, ...]


@cache
def load_published(file: Path) -> Published:
    """Return the published figures in the order of a TOML file.

    Raises:
        UsageError: the file cannot be read, or a figure has an unknown or missing key, a value that is not allowed or
            a name that the file does not explain; the message names the figure and the key.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        found = Published.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        problems = [f"  {'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors(include_url=False)]
        raise UsageError(f"{file}: values that are not allowed:\n" + "\n".join(problems)) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}.") from error
    for name, figure in found.figures.items():
        for key in ("source", "dataset", "network"):
            value, names = getattr(figure, key), getattr(found, f"{key}s")
            if value not in names:
                problem = f"figures.{name}.{key} = {value!r}: not in [{key}s]; {nearest(value, names)}"
                raise UsageError(f"{file}: {problem}")
    return found


def published() -> Published:
    """Return the published figures of the package."""
    return load_published(FILE)


def data_set(name: str) -> DataSet:
    """Return the entry of a data set; of an unknown one, its name."""
    return published().datasets.get(name) or DataSet(title=name)


def published_beside_ours(studies: Sequence[Study]) -> list[Row]:
    """Return every published figure beside ours, or the differences that leave nothing to compare.

    Exploratory studies, studies evaluated on validation images and those of synthetic data are never compared.
    """
    tested = [study for study in studies if not study.exploratory and study.split == "test"]
    real = [study for study in tested if not study.any_record["data"]["synthetic"]]
    return [_row(figure, real) for figure in published().figures.values()]


def _row(figure: Figure, studies: Sequence[Study]) -> Row:
    """Compare a figure with every study of its data set, or of a version of it.

    The closest study has the fewest differences; of several, one of the official data that has the arm, then the one
    with the most runs.
    """
    matching: list[Ours] = []
    differing: list[tuple[Study, tuple[Difference, ...]]] = []
    for study in studies:
        name = study.any_record["data"]["name"]
        if figure.dataset in (name, data_set(name).version_of):
            arms = [arm for arm in study.arms if _trains(study, arm, figure)]
            found = {arm: tuple(differences(figure, study, arm)) for arm in arms}
            matching += [_own(figure, study, arm) for arm in arms if not found[arm]]
            missing = () if arms else (tuple(differences(figure, study, None)),)
            differing += [(study, reasons) for reasons in (*found.values(), *missing) if reasons]

    def distance(entry: tuple[Study, tuple[Difference, ...]]) -> tuple[int, int, int]:
        study, reasons = entry
        grave = sum(reason.kind in ("data set", "no arm") for reason in reasons)
        return len(reasons), grave, -len(study.records)

    closest, differs = min(differing, key=distance, default=(None, ()))
    return Row(figure, tuple(matching), closest, differs)


def _trains(study: Study, arm: str, figure: Figure) -> bool:
    spec = study.arm_settings(arm)
    return spec is not None and spec["method"] == figure.method and figure.augmentation in (None, spec["augmentation"])


def differences(figure: Figure, study: Study, arm: str | None) -> Iterator[Difference]:
    """Yield every difference between a figure and an arm of a study (None: the study has no arm of that method)."""
    name, network = study.any_record["data"]["name"], study.any_record["model"]["name"]
    settings, protocol, attack = study.any_record["settings"], figure.protocol, figure.attack
    spec = (study.arm_settings(arm) if arm else None) or {}
    if name != figure.dataset:
        yield Difference("data set", data_set(name).title, data_set(figure.dataset).title)
    if network != figure.network:
        names = published().networks
        yield Difference("network", names.get(network, network), names[figure.network])
    if arm is None:
        yield Difference("no arm", figure.augmentation, figure.method)
    elif not study.done(arm):
        yield Difference("no finished run", arm)
    for key, value in figure.settings.items():
        if spec and spec["settings"].get(key) != value:
            yield Difference(f"setting {key}", spec["settings"].get(key), value)
    for kind, (own, theirs) in _numbers(figure, data_set(figure.dataset), study, arm).items():
        if None not in (own, theirs) and own != theirs:
            yield Difference(kind, own, theirs)
    if settings.get("compute"):
        yield Difference("equal compute")
    if protocol.reported == "best test epoch":
        yield Difference("best test epoch")
    needed = {
        "augmentation": figure.augmentation,
        "epochs": protocol.epochs,
        "batch size": protocol.batch_size,
        "weight decay": protocol.weight_decay,
        "reported epoch": protocol.reported,
    }
    if missing := tuple(key for key, value in needed.items() if value is None):
        yield Difference("not given", theirs=missing)
    attacks = settings["evaluation"]["attacks"]
    if attack and attacks != [step.model_dump() for step in attack.suite]:
        yield Difference("attacks", attacks, attack.name)
    if attack and attack.eps not in study.eps:
        yield Difference("no attack at", theirs=attack.eps)


def _numbers(figure: Figure, theirs: DataSet, study: Study, arm: str | None) -> dict[str, tuple[Any, Any]]:
    """Return the numbers that must agree, ours and the published one; None where there is none."""
    data, settings, protocol = study.any_record["data"], study.any_record["settings"], figure.protocol
    own = study.recipe(arm) if arm else settings["recipe"]
    recipe = Recipe.model_construct(**own)  # settings that older records lack have their defaults
    spec = (study.arm_settings(arm) if arm else None) or {}
    padded = spec.get("augmentation") == "standard" and not settings["data"].get("streamed")
    return {
        "training images": (data["train_images"], theirs.train_images),
        "test images": (data["test_images"], theirs.test_images),
        "attacked images": (settings["evaluation"]["images"], theirs.test_images if figure.attack else None),
        "epochs": (recipe.epochs, protocol.epochs),
        "batch": (recipe.batch_size, protocol.batch_size),
        "weight decay": (recipe.weight_decay, protocol.weight_decay),
        "crops padded by": (recipe.padding if padded else None, protocol.padding),
    }


def _own(figure: Figure, study: Study, arm: str) -> Ours:
    at = study.arms.index(arm)
    if figure.attack:
        return Ours(study, study.robust[at, :, int(np.flatnonzero(study.eps == figure.attack.eps)[0])])
    reported = figure.protocol.reported
    if reported not in MEDIAN_OF:
        return Ours(study, study.clean[at])
    last = MEDIAN_OF[reported]
    medians = [np.median([epoch["accuracy"] for epoch in run["epochs"][-last:]]) for run in study.done(arm)]
    return Ours(study, study.clean[at], 100 * np.array(medians))

"""Published figures beside ours, read from published.toml: our figure where a study matches, else what differs."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from benchmark.analysis.paired import Floats
from benchmark.analysis.study import Study
from benchmark.report.describe import value_text
from benchmark.report.tables import Table, code, mean_text, sd_text
from benchmark.runtime.errors import UsageError, nearest
from benchmark.settings.preset import Attack, Count, CountOrZero, Name, NotNegative, Positive, Recipe, Settings

FILE = Path(__file__).with_name("published.toml")
Reported = Literal["last epoch", "median of last 5 epochs", "median of last 10 epochs", "best test epoch"]
Pair = tuple[float | None, float | None]
MEDIAN_OF: dict[Reported, int] = {"median of last 5 epochs": 5, "median of last 10 epochs": 10}


class Protocol(Settings):
    """How a published figure was trained and read; None is what its source does not say. `epochs` may be a fraction."""

    epochs: Positive | None = None
    batch_size: Count | None = None
    weight_decay: NotNegative | None = None
    padding: CountOrZero | None = None
    reported: Reported | None = None
    runs: Count | None = None
    note: str | None = None


class Attacked(Settings):
    """The attacks of a robust figure: their name, Linf eps in units of 1/255, and what they are in our names."""

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
    """A data set's published name and size; `version_of` names the one that it was made from and is not."""

    title: str
    train_images: Count
    test_images: Count
    version_of: str | None = None


class Published(Settings):
    """The whole file: how to read it, what is said of the paper itself, published names and the figures."""

    note: str
    paper: str
    sources: dict[Name, str]
    networks: dict[Name, str]
    datasets: dict[Name, DataSet]
    figures: Annotated[dict[str, Figure], Field(min_length=1)]


def load_published(file: Path) -> Published:
    """Return the published figures in the order of a TOML file.

    Raises:
        UsageError: the file cannot be read, or a figure has an unknown or missing key, a value that is not allowed or
            a name that the file does not explain; the message names the figure and the key.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        published = Published.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        problems = [f"  {'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors(include_url=False)]
        raise UsageError(f"{file}: values that are not allowed:\n" + "\n".join(problems)) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}.") from error
    for name, figure in published.figures.items():
        for key in ("source", "dataset", "network"):
            names = getattr(published, f"{key}s")
            if getattr(figure, key) not in names:
                problem = f"figures.{name}.{key} = {getattr(figure, key)!r}"
                raise UsageError(f"{file}: {problem}: not in [{key}s]; {nearest(getattr(figure, key), names)}")
    return published


def note() -> str:
    """Say how to read `published_table`, and that the paper itself is not in it."""
    published = load_published(FILE)
    return f"{published.note} {published.paper}"


def published_table(studies: Sequence[Study]) -> Table:
    """Every published figure beside ours, or the reasons why there is none to compare; `note` says how to read it.

    Exploratory studies, studies evaluated on validation images and those of synthetic data are never compared.
    """
    published = load_published(FILE)
    tested = [study for study in studies if not study.exploratory and study.split == "test"]
    real = [study for study in tested if not study.any_record["data"]["synthetic"]]
    headers = ["source", "data set", "network", "method, augmentation", "protocol", "published, %", "ours, %"]
    rows = [
        [
            published.sources[figure.source],
            published.datasets[figure.dataset].title,
            published.networks[figure.network],
            f"{code(figure.method)}, {figure.augmentation or 'not given'}",
            protocol_text(figure),
            published_text(figure),
            ours(figure, published, real),
        ]
        for figure in published.figures.values()
    ]
    return Table(headers, rows, words=headers)


def protocol_text(figure: Figure) -> str:
    """Write what is known of how a figure was trained and read."""
    protocol, attack = figure.protocol, figure.attack
    known = [
        ("{:g} epochs", protocol.epochs),
        ("batch {}", protocol.batch_size),
        ("weight decay {:g}", protocol.weight_decay),
        ("{}", protocol.reported),
        ("{} runs", protocol.runs),
        ("{0.name} at Linf {0.eps:g}/255", attack),
        ("{}", protocol.note),
    ]
    return ", ".join(text.format(value) for text, value in known if value is not None) or "not given"


def published_text(figure: Figure) -> str:
    """Write a figure as accuracy in %, with its spread and the error that it was published as."""
    spread = "" if figure.spread is None else f" ± {figure.spread:g}"
    if figure.quantity == "error":
        return f"{100 - figure.value:.2f}{spread} (error {figure.value:.2f})"
    return f"{figure.value:.2f}{spread}{' robust' if figure.attack else ''}"


def ours(figure: Figure, published: Published, studies: Sequence[Study]) -> str:
    """Write our figure from every study that matches, else in what the closest one differs (the fewest reasons)."""
    matching: list[str] = []
    differing: list[list[str]] = []
    for study in studies:
        name = study.any_record["data"]["name"]
        known = published.datasets.get(name)
        if name == figure.dataset or (known and known.version_of == figure.dataset):
            arms = [arm for arm in study.arms if trains(study, arm, figure)]
            reasons = {arm: differences(figure, published, study, arm) for arm in arms}
            matching += [own_text(figure, study, arm) for arm in arms if not reasons[arm]]
            differing += reasons.values() if arms else [differences(figure, published, study, None)]
    if not differing:
        return f"not comparable: no study of {published.datasets[figure.dataset].title} was run"
    closest = min(differing, key=len)
    return "; ".join(matching) or f"not comparable: {'; '.join(closest)}"


def trains(study: Study, arm: str, figure: Figure) -> bool:
    """Say whether an arm has runs of the figure's method, with its augmentation where that is stated."""
    spec = study.arm_settings(arm)
    return spec is not None and spec["method"] == figure.method and figure.augmentation in (None, spec["augmentation"])


def differences(figure: Figure, published: Published, study: Study, arm: str | None) -> list[str]:
    """Return everything in which an arm of a study (None: it has none of that method) differs from a figure."""
    name, network = study.any_record["data"]["name"], study.any_record["model"]["name"]
    spec = (study.arm_settings(arm) if arm else None) or {}
    reasons = []
    if name != figure.dataset:
        titles = [published.datasets[key].title for key in (name, figure.dataset)]
        reasons.append("the data set is {}, not the official {}".format(*titles))
    if network != figure.network:
        own = published.networks.get(network, code(network))
        reasons.append(f"network {own}, not {published.networks[figure.network]}")
    if arm is None:
        augmentation = f" with augmentation {figure.augmentation}" if figure.augmentation else ""
        reasons.append(f"no arm of {code(figure.method)}{augmentation}")
    elif not study.done(arm):
        reasons.append(f"no run of {code(arm)} has finished")
    for key, value in figure.settings.items():
        if spec and spec["settings"].get(key) != value:
            reasons.append(f"{key} {value_text(spec['settings'].get(key))}, not {value_text(value)}")
    for text, (own_number, theirs) in numbers(figure, published.datasets[figure.dataset], study, spec).items():
        if None not in (own_number, theirs) and own_number != theirs:
            reasons.append(f"{text.format(f'{own_number:,.12g}')}, not {theirs:,.12g}")
    return [*reasons, *protocol_differences(figure, study), *attack_differences(figure, study)]


def numbers(figure: Figure, theirs: DataSet, study: Study, spec: dict[str, Any]) -> dict[str, Pair]:
    """Return the numbers that must agree, ours and the published one; None where there is none."""
    data, settings, protocol = study.any_record["data"], study.any_record["settings"], figure.protocol
    recipe = Recipe.model_construct(**settings["recipe"])  # what an older record does not say is the default
    padded = spec.get("augmentation") == "standard" and not settings["data"].get("streamed")
    return {
        "{} training images": (data["train_images"], theirs.train_images),
        "{} test images": (data["test_images"], theirs.test_images),
        "{} attacked images": (settings["evaluation"]["images"], theirs.test_images if figure.attack else None),
        "{} epochs": (spec.get("epochs") or recipe.epochs, protocol.epochs),
        "batch {}": (recipe.batch_size, protocol.batch_size),
        "weight decay {}": (recipe.weight_decay, protocol.weight_decay),
        "crops padded by {}": (recipe.padding if padded else None, protocol.padding),
    }


def protocol_differences(figure: Figure, study: Study) -> list[str]:
    """Return what else of a figure's protocol differs from ours, and what is not given that a match needs."""
    protocol = figure.protocol
    needed = {
        "augmentation": figure.augmentation,
        "epochs": protocol.epochs,
        "batch size": protocol.batch_size,
        "weight decay": protocol.weight_decay,
        "reported epoch": protocol.reported,
    }
    missing = [key for key, value in needed.items() if value is None]
    return [
        *(["trained for equal FLOPs, not for epochs"] if study.any_record["settings"].get("compute") else []),
        *(["last epoch, not best test epoch"] if protocol.reported == "best test epoch" else []),
        *([f"not given: {', '.join(missing)}"] if missing else []),
    ]


def attack_differences(figure: Figure, study: Study) -> list[str]:
    """Return in what a study's attacks differ from those of a robust figure; nothing for a clean one."""
    attack, attacks = figure.attack, study.any_record["settings"]["evaluation"]["attacks"]
    if attack is None:
        return []
    same = attacks == [step.model_dump() for step in attack.suite]
    steps = ", ".join(f"{step['name']} ({step['steps']})" for step in attacks)
    return [
        *([] if same else [f"attacks {steps}, not {attack.name}"]),
        *([] if attack.eps in study.eps else [f"no attack at {attack.eps:g}/255"]),
    ]


def own_text(figure: Figure, study: Study, arm: str) -> str:
    """Write our figure of a matching arm: mean, sd and number of seeds, the preset, the median of the same epochs."""
    at = study.arms.index(arm)
    if figure.attack:
        values: Floats = study.robust[at, :, int(np.flatnonzero(study.eps == figure.attack.eps)[0])]
    else:
        values = study.clean[at]
    seeds = f"{np.isfinite(values).sum()} of {len(study.seeds)} seeds"
    text = f"{mean_text(values)} (sd {sd_text(values)}, {seeds}) in {code(study.preset)}"
    reported = figure.protocol.reported
    if figure.attack or reported not in MEDIAN_OF:
        return text
    last = MEDIAN_OF[reported]
    medians = [np.median([epoch["accuracy"] for epoch in run["epochs"][-last:]]) for run in study.done(arm)]
    return f"{text}, {mean_text(100 * np.array(medians))} as {reported}"

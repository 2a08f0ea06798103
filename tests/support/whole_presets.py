"""Whole valid presets, drawn by hypothesis: every section, methods with settings, tuples, optional parts; as files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from baselines.mixing import MOST_ALPHA
from benchmark.settings import names as name_tables
from benchmark.settings.load import load_preset
from benchmark.settings.preset import DEVICES, LARGEST, MARKUP, MOST, MOST_IN_A_BATCH, MOST_PIXELS, Endpoint, Preset
from sba.ranges import MOST_COPIES

Values = dict[str, Any]

LAST = 2**63 - 1
ENDPOINTS: tuple[Endpoint, ...] = ("clean", "area", "eps", "learning", "images", "seconds")
LAYERS = ["input", "stem", "block1", "layer1.0.conv1"]

counts = st.integers(1, 40) | st.integers(1, MOST)
batch_sizes, copies = st.integers(1, MOST_IN_A_BATCH), st.integers(1, MOST_COPIES)
seeds = st.lists(st.integers(0, 40) | st.integers(0, LAST), min_size=1, max_size=6, unique=True)
positive = st.integers(1, 300) | st.floats(0, LARGEST, exclude_min=True)
not_negative = st.floats(0, LARGEST)
alpha = st.integers(1, 300) | st.floats(0, MOST_ALPHA, exclude_min=True)
margins = st.integers(1, 100) | st.floats(0, 100, exclude_min=True)
percent = st.floats(0, 100, exclude_min=True, exclude_max=True) | st.integers(1, 99)
share = st.floats(0, 1) | st.sampled_from([0, 1])
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,59}", fullmatch=True).filter(lambda name: name not in DEVICES)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=30)
titles = texts.map(lambda text: "".join(character for character in text if character not in MARKUP) or "a")
layers = st.lists(st.sampled_from(LAYERS), min_size=1, unique=True)
attacks = st.fixed_dictionaries({"name": st.sampled_from(sorted(name_tables.table("attack"))), "steps": counts})

# Settings that a method needs or takes, each with what it allows.
METHOD_SETTINGS: dict[str, tuple[dict[str, SearchStrategy[Any]], dict[str, SearchStrategy[Any]]]] = {
    "erm": ({}, {}),
    "mixup": ({}, {"alpha": alpha}),
    "manifold_mixup": ({"layers": layers}, {}),
    "cutmix": ({}, {"alpha": alpha}),
    "sba": ({"layers": layers}, {"p": share, "noise": share, "copies": copies, "label_gradient": st.booleans()}),
}


def rising(of: SearchStrategy[Any]) -> SearchStrategy[list[Any]]:
    """Lists that rise, each value once."""
    return st.lists(of, min_size=1, max_size=5, unique_by=float).map(lambda values: sorted(values, key=float))


def table(required: dict[str, SearchStrategy[Any]], optional: dict[str, SearchStrategy[Any]]) -> SearchStrategy[Values]:
    return st.fixed_dictionaries(required, optional=optional)


@st.composite
def arms(draw: Callable[[SearchStrategy[Any]], Any]) -> Values:
    method = draw(st.sampled_from(sorted(METHOD_SETTINGS)))
    augmentation = st.sampled_from(["none", "standard"])
    settings = table(*METHOD_SETTINGS[method])
    own = table({}, {"learning_rate": positive, "weight_decay": not_negative})
    drawn = draw(table({"augmentation": augmentation, "settings": settings}, {"epochs": counts, "recipe": own}))
    return dict(drawn) | {"method": method}


def evaluations(validation: bool) -> SearchStrategy[Values]:
    checks = table(
        dict.fromkeys(("images", "square_queries", "repeated", "long_steps"), counts),
        dict.fromkeys(("reference_steps", "reference_queries"), counts),
    )
    required = {
        "images": counts,
        "batch_size": batch_sizes,
        "eps": rising(positive),
        "attacks": st.lists(attacks, min_size=1),
    }
    splits = ["test", "validation"] if validation else ["test"]
    return table(required, {"split": st.sampled_from(splits), "checks": checks}).flatmap(
        lambda values: st.one_of(
            st.just(values),
            table({"l2_eps": rising(positive), "l2_attacks": st.lists(attacks, min_size=1)}, {}).map(
                lambda l2: values | l2
            ),
        )
    )


def recipes(pixels: int) -> SearchStrategy[Values]:
    fixed = {
        "epochs": counts,
        "batch_size": batch_sizes,
        "learning_rate": positive,
        "padding": st.integers(0, pixels - 1),
    }
    free: dict[str, SearchStrategy[Any]] = {
        "momentum": st.floats(0, 1, exclude_max=True),
        "weight_decay": not_negative,
        "flip": st.booleans(),
        "precision": st.sampled_from(["float32", "bfloat16"]),
    }
    return table(fixed, free | dict.fromkeys(("initial", "peak", "final"), share))


def ablations() -> SearchStrategy[Values]:
    sizes = ("train_images", "validation_images", "epochs", "equal_compute_epochs", "attacked_images")
    lists = {"seeds": seeds, "all_layers": layers, "eps": rising(positive), "attacks": st.lists(attacks, min_size=1)}
    return table(dict.fromkeys(sizes, counts) | lists, {})


@st.composite
def tunings(draw: Callable[[SearchStrategy[Any]], Any], arm_names: list[str], used: list[int]) -> Values:
    """A search of all arms, at seeds that are not used."""
    free = [seed for seed in range(60) if seed not in used]
    chosen = draw(st.lists(st.sampled_from(free), min_size=2, max_size=6, unique=True))
    edges = rising(positive).filter(lambda values: len(values) > 1)
    interval = edges.map(lambda values: {"min": values[0], "max": values[-1], "scaling": "log"})
    points = st.lists(st.booleans() | counts | st.lists(names, min_size=1), min_size=1)
    dimension = interval | points.map(lambda values: {"feasible_points": values})
    required = {
        "trials": st.sampled_from([1, 2, 16]),
        "seeds": st.just(chosen[:1]),
        "fresh_seeds": st.just(chosen[1:]),
        "validation_images": counts,
        "recipe": table({"learning_rate": interval, "weight_decay": interval}, {}),
        "arms": table(dict.fromkeys(arm_names, st.dictionaries(names, dimension, max_size=2)), {}),
    }
    return dict(draw(table(required, {})))


@st.composite
def analyses(draw: Callable[[SearchStrategy[Any]], Any], arm_names: list[str], eps: list[float]) -> Values:
    treatment = draw(st.sampled_from(arm_names))
    others = [name for name in arm_names if name != treatment]
    levels = draw(rising(percent))
    required = {
        "treatment": st.just(treatment),
        "against": st.lists(st.sampled_from(others), min_size=1, unique=True),
        "eps": st.sampled_from(eps),
        "margin": margins,
        "level": st.sampled_from(levels),
        "levels": st.just(levels),
    }
    return dict(
        draw(
            table(
                required,
                {
                    "endpoints": st.lists(st.sampled_from(ENDPOINTS), min_size=1, unique=True),
                    "exploratory": st.booleans(),
                    "positive_control": st.sampled_from(arm_names),
                },
            )
        )
    )


@st.composite
def presets(draw: Callable[[SearchStrategy[Any]], Any]) -> Values:
    """The values of a whole valid preset, as its file has them."""
    dataset = draw(st.sampled_from([*name_tables.table("data set"), "my/photos", "/data/éx"]))
    sizes = dict.fromkeys(("train_images", "test_images", "validation_images", "split_seed"), counts | st.just(0))
    data = draw(table({"dataset": st.just(dataset), "pixels": st.integers(1, MOST_PIXELS)}, sizes))
    evaluation = draw(evaluations(bool(data.get("validation_images"))))
    arm_table = draw(st.dictionaries(names, arms(), min_size=2, max_size=4))
    required = {"name": names, "title": titles, "seeds": seeds, "recipe": recipes(data["pixels"])}
    required["analysis"] = analyses(list(arm_table), evaluation["eps"])
    required["model"] = st.fixed_dictionaries({"name": st.sampled_from(sorted(name_tables.table("network")))})
    drawn = dict(draw(table(required, {"ablation": ablations(), "compute": st.booleans()})))
    if draw(st.booleans()):
        drawn["tuning"] = draw(tunings(list(arm_table), drawn["seeds"]))
    return drawn | {"data": data, "evaluation": evaluation, "arms": arm_table}


def load(values: Values, folder: Path, file: str = "mine.toml") -> Preset:
    path = folder / file
    path.write_bytes(tomli_w.dumps(values).encode())
    return load_preset(str(path))


def as_values(preset: Preset) -> Values:
    """The preset as its file would have it; TOML has no null."""
    return preset.model_dump(mode="json", exclude_none=True)

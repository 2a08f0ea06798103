"""Settings: the bounds of every number, values that are refused and why, and presets that survive their file."""

import copy
import dataclasses
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from networks.method_cases import SETTINGS
from pydantic import ValidationError
from studies.saying import Say
from studies.whole_presets import SCHEMA, Values, as_values, load, presets, resolved

from benchmark.analysis.endpoints import ENDPOINTS, Measure
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.methods import METHODS
from benchmark.settings.names import dotted, look_up
from benchmark.settings.plan import make_method, make_plan
from benchmark.settings.preset import Arm, Preset
from benchmark.settings.variants import at_equal_compute, shrink, trials_preset

Place = tuple[str | int, ...]
# One folder for all examples: each replaces the file.
SHARED = settings(
    deadline=None,
    derandomize=True,
    max_examples=20,
    phases=[Phase.generate],  # shrinking a failure would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# A preset that has every field.
BASE = as_values(load_preset("cifar10_jpeg_cpu"))
OWN = {"epochs": 3, "seeds": list(BASE["seeds"]), "recipe": {"learning_rate": 0.2, "weight_decay": 0.01}}
BASE["arms"] = {name: BASE["arms"][name] for name in ("sba", "standard")} | {"erm": BASE["arms"]["erm"] | OWN}
BASE["analysis"] |= {"against": ["erm"], "relatives": ["standard"], "positive_control": "erm"}
BASE["compute_arms"] = ["sba", "erm"]
BASE["recipe"]["drops"] = [0.5]
BASE["evaluation"]["checks"]["seeds"] = [0]
DIMENSION = {"min": 0.1, "max": 0.9, "scaling": "log", "feasible_points": []}
BASE["tuning"] = {
    **{"trials": 4, "seeds": [7], "fresh_seeds": [8], "validation_images": 100},
    "recipe": {"learning_rate": dict(DIMENSION), "weight_decay": dict(DIMENSION)},
    "arms": {"erm": {"erm": dict(DIMENSION)}, "sba": {}},
}

# Numbers, each with the smallest and the largest that is taken, then those that are refused.
MANY, EPOCHS, SPEND, BATCH = ((1, most, 0, most + 1) for most in (2**31, 1_000_000, 1_000_000, 65_536))
SEED = (0, 2**63 - 1, -1, 2**63)
SOME = (0, 2**31, -1, 2**32)
POSITIVE = (1e-300, 1e30, 0, 1.1e30, 1e308)
NOT_NEGATIVE = (0, 1e30, -1e-300, 1.1e30, 1e308)
SHARE = (0, 1, -1e-300, 1.0001)
PERCENT = (1e-300, 99.99, 0, 100)
EPS, L2_EPS = (1e-4, 255, 0, 0.9e-4, 256), (1e-4, 1e4, 0, 1.1e4)
EDGE = (-1e30, 1e30, -1.1e30, 1.1e30, 1e308)
BOUNDS: dict[str, tuple[float, ...]] = {
    "seeds": SEED,
    "data.pixels": (1, 8192, 0, 8193),
    **dict.fromkeys(("data.train_images", "data.test_images", "data.validation_images"), SOME),
    "data.split_seed": SEED,
    "data.resize": (0, 8192, -1, 8193),
    "recipe.epochs": EPOCHS,
    "recipe.batch_size": BATCH,
    "recipe.learning_rate": POSITIVE,
    "recipe.momentum": (0, 0.999, -1e-300, 1),
    "recipe.weight_decay": NOT_NEGATIVE,
    **dict.fromkeys(("recipe.initial", "recipe.peak", "recipe.final", "recipe.drops"), SHARE),
    "recipe.padding": (0, 8192, -1, 8193, 2**32),
    "recipe.accumulate": BATCH,
    "evaluation.images": MANY,
    "evaluation.batch_size": (*BATCH, 1_000_000),
    "evaluation.eps": EPS,
    "evaluation.attacks.steps": SPEND,
    "evaluation.l2_eps": L2_EPS,
    "evaluation.l2_attacks.steps": SPEND,
    **dict.fromkeys(("evaluation.checks.images", "evaluation.checks.repeated"), MANY),
    **{f"evaluation.checks.{key}": SPEND for key in ("square_queries", "long_steps")},
    **{f"evaluation.checks.reference_{key}": SPEND for key in ("steps", "queries")},
    "evaluation.checks.seeds": SEED,
    "arms.epochs": EPOCHS,
    "arms.recipe.learning_rate": POSITIVE,
    "arms.recipe.weight_decay": NOT_NEGATIVE,
    "arms.seeds": SEED,
    "analysis.eps": EPS,
    "analysis.margin": (1e-300, 100, 0, 100.1, 1e308),
    "analysis.level": PERCENT,
    "analysis.levels": PERCENT,
    "ablation.seeds": SEED,
    **{f"ablation.{key}": MANY for key in ("train_images", "validation_images", "attacked_images")},
    **{f"ablation.{key}": EPOCHS for key in ("epochs", "equal_compute_epochs")},
    "ablation.eps": EPS,
    "ablation.attacks.steps": SPEND,
    "tuning.trials": (1, 1024, 0, 1025),
    "tuning.seeds": SEED,
    "tuning.fresh_seeds": SEED,
    "tuning.validation_images": MANY,
    **{
        f"tuning.{space}.{end}": EDGE
        for space in ("recipe.learning_rate", "recipe.weight_decay", "arms.erm")
        for end in ("min", "max")
    },
}
WHOLE, LARGE = (0, 2**53, -1), (0, 1e30, -1e-300, 1.1e30, 1e308)
SBA: dict[str, tuple[float, ...]] = {
    **{f"sba.{name}": SHARE for name in ("p", "noise_jitter", "label_mix")},
    **{f"sba.{name}": LARGE for name in ("noise", "alpha", "kl_weight")},
    **{f"sba.{name}": WHOLE for name in ("ramp_steps", "warmup_steps", "kl_ramp_steps")},
    "sba.copies": (1, 1000, 0, 1001, 2**32),
    "sba.temperature": (1e-300, 1e6, 0, 1.1e6, 1e308),
    "sba.similarity_tau": POSITIVE,
}
ALPHA = (1e-300, 1e6, 0, 1.1e6, 1e308)
METHOD_BOUNDS: dict[str, tuple[float, ...]] = {
    **SBA,
    **{key.replace("sba.", "sba_mixup."): bounds for key, bounds in SBA.items()},
    "sba_mixup.label_mix": (0, 0, -1e-300, 1e-300),
    "sba_mixup.mixing_alpha": ALPHA,
    "sba_mixup.mixing_p": (1, 1, 0.99, 1.01),
    **{f"{name}.alpha": ALPHA for name in ("mixup", "manifold_mixup", "cutmix")},
    "cutmix.p": SHARE,
    "label_smoothing.smoothing": SHARE,
    "batch_augmentation.copies": (1, 1000, 0, 1001, 2**32),
    "batch_augmentation.padding": (0, 8192, -1, 8193, 2**32),
    "stability.noise": LARGE,
    "stability.weight": LARGE,
    "adversarial.eps": (0, 255, -1e-300, 256),
    "adversarial.steps": (1, 1000, 0, 1001, 2**32),
    "adversarial.step_size": (1e-300, 255, 0, 256),
}


def at(place: Place, values: Any = BASE) -> Any:
    for part in place:
        values = values[part]
    return values


def with_value(place: Place, value: Any) -> Values:
    changed = copy.deepcopy(BASE)
    at(place[:-1], changed)[place[-1]] = value
    return changed


class Field(NamedTuple):
    """A field of the schema, at a place that the base preset has."""

    place: Place
    schema: dict[str, Any]
    optional: bool

    @property
    def key(self) -> str:
        """Its dotted key without numbers and names of arms."""
        return ".".join(str(part) for part in self.place if part != "erm" and isinstance(part, str)).replace(
            "tuning.arms.", "tuning.arms.erm."
        )


def fields(schema: dict[str, Any], place: Place = (), optional: bool = False) -> Iterator[Field]:
    """Yield every field below a schema: of a list its last entry, of a table of arms that of `erm`."""
    schema = resolved(schema)
    if place:
        yield Field(place, schema, optional)
    if schema.get("type") == "array":
        yield from fields(schema["items"], (*place, len(at(place)) - 1)) if at(place) else ()
    elif schema.get("type") == "object" and place[-1:] != ("settings",):
        named = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
        for name, field in (schema.get("properties") or {"erm": named[0]}).items():
            yield from fields(field, (*place, name), name not in schema.get("required", []))


FIELDS = [field for field in fields(SCHEMA) if "type" in field.schema]  # the others take anything
NUMBERS = [field for field in FIELDS if field.schema["type"] in ("integer", "number")]


def test_the_base_has_every_field_and_every_number_has_bounds(tmp_path: Path) -> None:
    assert as_values(load(BASE, tmp_path)) == BASE
    tables = [table for table in SCHEMA["$defs"].values() if "properties" in table]
    assert len(FIELDS) > sum(len(table["properties"]) for table in tables)
    assert {field.key for field in NUMBERS} == BOUNDS.keys()


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: dotted(field.place))
def test_each_number_has_these_bounds(field: Field) -> None:
    least, most, *refused = BOUNDS[field.key]
    for value, allowed in ((least, True), (most, True), *((value, False) for value in refused)):
        try:
            Preset.model_validate_json(json.dumps(with_value(field.place, value)))
            wrong = False
        except ValidationError as error:  # in range, a value may still be at odds with another setting
            wrong = any(problem["loc"] == field.place for problem in error.errors())
        assert wrong is not allowed, value


@pytest.mark.parametrize("key", METHOD_BOUNDS)
def test_each_number_of_a_method_has_these_bounds_in_arms_and_in_searches(key: str) -> None:
    method, name = key.split(".")
    least, most, *refused = METHOD_BOUNDS[key]
    base = json.loads(json.dumps(SETTINGS.get(method, {})))
    arm = {"method": method, "augmentation": "none", "settings": base}

    def make(value: float) -> Any:
        ramp = {"ramp": "linear_up"} if name == "ramp_steps" and value else {}
        settings = base | ramp | {name: value}
        return make_method("mine", "a", Arm.model_validate_json(json.dumps(arm | {"settings": settings})))

    for value in (least, most):
        assert getattr(make(value), name) == value
    preset = load_preset(
        "smoke", (f"arms.mixup={{method = {method!r}, augmentation = 'none'}}", "tuning.arms.mixup={}")
    )
    for value in refused:
        with pytest.raises((UsageError, ValidationError)) as refused_by:
            make(value)
        assert name in str(getattr(refused_by.value, "errors", lambda: refused_by.value)())
    search = json.loads(preset.model_dump_json())
    search["arms"]["mixup"]["settings"] = base
    search["tuning"]["arms"]["mixup"] = {name: {"feasible_points": [refused[0]]}}
    with pytest.raises(UsageError, match=rf"arms\.mixup_trial_0\.settings.*{name}"):
        make_plan(trials_preset(Preset.model_validate_json(json.dumps(search))), None, None)


def test_every_number_of_a_method_is_in_the_table() -> None:
    found = set()
    for method in METHODS:
        kind = look_up(method, METHODS)
        types = typing.get_type_hints(kind)
        numbers = [
            f.name for f in dataclasses.fields(kind) if {int, float} & {types[f.name], *typing.get_args(types[f.name])}
        ]
        found |= {f"{method}.{name}" for name in numbers}
    assert found == METHOD_BOUNDS.keys()


OTHER_TYPES: dict[str, list[Any]] = {
    "integer": ["3", 1.5, 1.0, True, [1], {"a": 1}, float("nan"), float("inf"), 2**63, -(2**70)],
    "number": ["1", True, [1.0], {"a": 1.0}, float("nan"), float("inf"), float("-inf"), 10**400],
    "string": [3, 1.5, True, ["a"], {"a": "b"}, "", "no such name", "two\nlines", "nul\0", "x" * 10_000],
    "boolean": [0, 1, "true", "", [True]],
    "array": [3, "text", True, {"a": 1}, [], [{"no": "such"}]],
    "object": [3, "text", True, []],
}


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: dotted(field.place))
def test_a_value_of_another_type_is_refused_by_its_dotted_key(tmp_path: Path, field: Field) -> None:
    place, schema = field.place, field.schema
    free = place == ("title",) or "all_layers" in place  # any line of text is one
    wrong = [value for value in OTHER_TYPES[schema["type"]] if not (free and value == "no such name")]
    wrong = [value for value in wrong if not (free and place != ("title",) and value == "x" * 10_000)]
    cases = [(place, value) for value in wrong if not (value == [] and field.optional and schema["type"] == "array")]
    if schema["type"] == "object" and place[-1] != "settings":
        cases += [((*place, "no_such_key"), 1), ((*place, "no such key\n"), {"a": 1})]
        cases += [(place, {})] if "minProperties" in schema else []
    if "maxItems" in schema:
        cases.append((place, list(range(schema["maxItems"] + 1))))
    for where, value in cases:
        with pytest.raises(UsageError) as refused:
            load(with_value(where, value), tmp_path)
        message = str(refused.value)
        assert dotted(where) in message, value
        assert "mine.toml" in message
        assert len(message) < 3000


JPEG, TEN, ON_10K = "cifar10_jpeg_cpu", "cifar10_cpu", "cifar10_10k_cpu"
ALPHA_SPACE = "tuning.arms.mixup.alpha"
CONTRADICTIONS = [  # of which preset, overrides, the message from its key on
    ("smoke", "recipe.epochs=many", "recipe.epochs = 'many': Input should be a valid integer"),
    ("smoke", "recipe.precision=float16", "recipe.precision = 'float16': Input should be 'float32' or 'bfloat16'"),
    ("smoke", "recipe.epoch=3", "recipe.epoch: unknown key; did you mean 'epochs'? Allowed: accumulate, batch_size"),
    ("smoke", "recpie.epochs=3", "recpie: unknown key; did you mean 'recipe'? Allowed: ablation, analysis, arms, "),
    ("smoke", "evaluation.attacks=[{nome = 'pgd', steps = 1}]", "attacks.0.nome: unknown key; did you mean 'name'?"),
    ("smoke", "evaluation.attacks=[{name = 'apgd_dlrr', steps = 1}]", "no such attack; did you mean 'apgd_dlr'"),
    ("smoke", "ablation.attacks=[{name = 'nope', steps = 1}]", "ablation.attacks.0.name = 'nope': there is"),
    ("smoke", "data.dataset=digitz", "data.dataset = 'digitz': there is no such data set; did you mean 'digits'?"),
    ("smoke", "model.name=smal", "model.name = 'smal': there is no such network; did you mean 'small'?"),
    ("smoke", "arms.sba.method=sbaa", "arms.sba.method = 'sbaa': there is no such method; did you mean 'sba'"),
    ("smoke", "analysis.endpoints=['claen']", "endpoints.0 = 'claen': there is no such endpoint; did you"),
    ("smoke", "arms={'../x' = {method = 'erm'}}", "arms.'../x' = '../x': allowed are lower-case letters"),
    ("smoke", "title=a | b", "title = 'a | b': a title may not have |, which mean something in a page of Markdown."),
    ("smoke", "name=con", "name = 'con': Windows keeps this name for a device"),
    ("smoke", "name=A b", "name = 'A b': allowed are lower-case letters, digits, - and _ (it names a folder)."),
    ("smoke", "title=2026-01-01", "title = '2026-01-01': dates and times are not allowed"),
    ("smoke", "arms.sba.settings.p=nan", "arms.sba.settings.p = nan: must be a finite number from -1e+30 to 1e+30."),
    ("smoke", "seeds=[1, 1]", "seeds = [1, 1]: each one once."),
    ("smoke", "analysis.against=['erm', 'erm']", "analysis.against = ['erm', 'erm']: each one once."),
    ("smoke", "analysis.endpoints=['clean', 'clean']", "analysis.endpoints = ['clean', 'clean']: each one once."),
    ("smoke", "ablation.all_layers=['stem', 'stem']", "ablation.all_layers = ['stem', 'stem']: each one once."),
    ("smoke", "evaluation.eps=[16.0, 4.0]", "evaluation.eps = [16.0, 4.0]: must rise, each value once."),
    ("smoke", "recipe.drops=[0.5, 0.5]", "recipe.drops = [0.5, 0.5]: must rise, each value once."),
    ("smoke", "analysis.eps=3.0", "analysis.eps = 3.0: is not in evaluation.eps = [4.0, 16.0, 64.0]."),
    ("smoke", "analysis.level=75.0", "analysis.levels = [70.0, 80.0, 90.0]: must hold analysis.level = 75.0."),
    ("smoke", "analysis.against=['standart']", "analysis.against = 'standart': no such arm; did you mean 'standard'?"),
    ("smoke", "analysis.positive_control=x", "analysis.positive_control = 'x': no such arm; allowed: erm, mixup, sba"),
    (TEN, "analysis.relatives=['sba']", "analysis.relatives = ['sba']: names the treatment 'sba' itself."),
    (TEN, "analysis.relatives=['erm']", "analysis.relatives = ['erm']: 'erm' is in analysis.against too."),
    ("smoke", "evaluation.l2_eps=[0.5]", "evaluation.l2_eps = [0.5]: goes together with evaluation.l2_attacks"),
    ("smoke", "evaluation.split=validation", "evaluation.split = 'validation': needs data.validation_images above 0."),
    (JPEG, "data.resize=40", "data.resize = 40: needs data.streamed = true."),
    (JPEG, "data.streamed=true --set data.resize=31", "data.resize = 31: must be 0 or at least data.pixels = 32."),
    (JPEG, "recipe.padding=32", "recipe.padding = 32: must be below data.pixels = 32."),
    (JPEG, "evaluation.checks.seeds=[0, 9]", "checks.seeds = [0, 9]: 9 is not among the study's seeds"),
    (ON_10K, "seeds=[3, 4]", "arms.adversarial.seeds = [0]: 0 is not among the study's seeds = [3, 4]."),
    (ON_10K, "arms.erm.seeds=[0]", "arms.erm.seeds = [0]: the arm is tested, so it runs at all"),
    ("smoke", "compute_arms=['mixpu', 'sba']", "compute_arms = 'mixpu': no such arm; did you mean 'mixup'?"),
    ("smoke", "compute_arms=['sba']", "compute_arms = ['sba']: must name analysis.treatment = 'sba' and an arm of"),
    ("smoke", "compute_arms=['erm', 'mixup']", "compute_arms = ['erm', 'mixup']: must name analysis.treatment = 'sba'"),
    ("smoke", "arms.erm.recipe.epochs=3", "recipe.epochs: unknown key; allowed: learning_rate, weight_decay."),
    ("smoke", "tuning.trials=3", "tuning.trials = 3: a Sobol sequence is balanced at powers of two only: 1, 2, 4"),
    ("smoke", f"{ALPHA_SPACE}={{min=1.0}}", f"{ALPHA_SPACE}.max: is not there; write min and max, or feasible_points."),
    ("smoke", f"{ALPHA_SPACE}={{min=1.0, max=0.5}}", f"{ALPHA_SPACE}.min = 1.0: must be below max = 0.5."),
    ("smoke", f"{ALPHA_SPACE}={{min=0.0, max=0.5, scaling='log'}}", ".min = 0.0: must be above 0 where scaling is log"),
    ("smoke", f"{ALPHA_SPACE}={{min=0.1, max=0.5, feasible_points=[1]}}", ".feasible_points = [1]: leave it out"),
    ("smoke", f"{ALPHA_SPACE}={{feasible_points=[1e308]}}", "must be a finite number from -1e+30 to 1e+30."),
    ("smoke", f"{ALPHA_SPACE}={{low=0.1}}", "low: unknown key; allowed: feasible_points, max, min, scaling."),
    ("smoke", "tuning.recipe.momentum={min=0.1, max=0.5}", "momentum: unknown key; allowed: learning_rate, weight"),
    ("smoke", "tuning.recipe.weight_decay={min=-0.1, max=1.0}", "weight_decay.min = -0.1: Input should be greater"),
    ("smoke", "tuning.recipe.learning_rate={feasible_points=[0.1, 'x']}", "rate.feasible_points = 'x': Input should"),
    ("smoke", "tuning.recipe.learning_rate={min=0.0, max=1.0}", "rate.min = 0.0: Input should be greater than 0"),
    ("smoke", "tuning.arms.mixpu={}", "tuning.arms.mixpu = 'mixpu': no such arm; did you mean 'mixup'?"),
    ("smoke", "tuning.seeds=[0]", "tuning.seeds = [0]: seeds has 0 too; each seed has one use."),
    ("smoke", "tuning.fresh_seeds=[1000]", "tuning.fresh_seeds = [1000]: tuning.seeds has 1000 too;"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "overrides", "message"), CONTRADICTIONS, ids=lambda text: str(text)[:50])
def test_a_wrong_setting_is_refused_by_key_value_and_rule(name: str, overrides: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_preset(name, tuple(overrides.split(" --set ")))
    assert message in str(refused.value)
    assert f"{name}.toml --set {overrides}" in str(refused.value)


@pytest.mark.parametrize("name", ["odd {largst}", "odd {}", "odd {", "odd {split:g}", "odd {eps.unit}"])
def test_an_endpoint_whose_name_cannot_be_filled_in_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for names in ((name, "odd"), ("odd {eps:g}", name)):  # title, short name
        monkeypatch.setitem(ENDPOINTS, "odd", Measure(names[0], "points", lambda study: study.clean, names[1]))
        with pytest.raises(UsageError) as refused:
            load_preset("smoke", ["analysis.endpoints=['clean', 'odd']"])
        problem = f"analysis.endpoints = 'odd': its name {name!r} in ENDPOINTS cannot be filled in; allowed in braces: "
        assert f"{problem}{{split}}, {{eps}}, {{level}}, {{largest}}." in str(refused.value)


def test_every_problem_is_listed_up_to_eight(tmp_path: Path) -> None:
    two = ("recipe.epochs=0", "recipe.batch_size=0")
    with pytest.raises(UsageError, match=r"(?s)recipe.epochs = 0.*recipe.batch_size = 0"):
        load_preset("smoke", two)
    with pytest.raises(UsageError, match=r"(?s)arms.mixup.method.*arms.sba.method"):
        load_preset("smoke", ("arms.mixup.method=x", "arms.sba.method=y"))
    with pytest.raises(UsageError, match=r"and 12 more\."):
        load(BASE | {f"x{i}": i for i in range(20)}, tmp_path)


@pytest.mark.parametrize("key", [key for key in SCHEMA["required"] if key != "name"])
def test_a_section_that_is_not_there_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError, match=f"{key}: is required and not there"):
        load({name: value for name, value in BASE.items() if name != key}, tmp_path)


def assert_within(written: Any, kept: Any) -> None:
    """Assert that nothing that a file says is dropped or replaced by a default."""
    if isinstance(written, dict):
        for key in written:
            assert_within(written[key], kept[key])
    elif isinstance(written, list):
        for one, other in zip(written, kept, strict=True):
            assert_within(one, other)
    else:
        assert written == kept


@given(values=presets())
@SHARED
def test_a_preset_is_the_same_after_a_file(tmp_path: Path, values: Values) -> None:
    first = load(values, tmp_path)
    assert_within(values, as_values(first))
    again = load(as_values(first), tmp_path)
    assert again == first
    plan, planned = make_plan(first, None, None), make_plan(again, None, None)
    assert [run.identity for run in plan] == [run.identity for run in planned]
    assert len({run.path(Path("r"), ".json") for run in plan}) == len(first.arms) * len(first.seeds)


@given(values=presets())
@settings(SHARED, max_examples=10)
def test_a_smoke_run_and_compute_mode_of_any_preset_are_presets(tmp_path: Path, values: Values) -> None:
    preset = load(values | {"name": values["name"][:20]}, tmp_path)  # theirs are longer
    small = load_preset(str(tmp_path / "mine.toml"), (), shrink(preset))
    assert small.title.endswith(preset.title)
    assert small.name == f"{preset.name}-smoke"
    compute = at_equal_compute(preset)
    assert Preset.model_validate_json(compute.model_dump_json()) == compute


LAST_SEED = 2**63 - 1
EDGES = (
    *("title=Edges $x_$ %d {y} & _ ^ ~ #", f"seeds=[{LAST_SEED}]", "data.train_images=60", "data.test_images=20"),
    *("recipe.epochs=1", "recipe.batch_size=60", "recipe.learning_rate=1e-300", "recipe.precision=float32"),
    *("evaluation.images=10", "evaluation.eps=[1e-4, 255.0]", "evaluation.l2_eps=[1e-4, 1e4]", "analysis.eps=1e-4"),
    *(f"evaluation.{norm}attacks=[{{name='apgd_dlr', steps=1}}]" for norm in ("", "l2_")),
    *("analysis.margin=1e-300", "analysis.level=99.99", "analysis.levels=[1e-300, 99.99]"),
    "analysis.endpoints=['area', 'images', 'seconds', 'learning', 'eps', 'clean']",
)


def test_a_study_at_the_edges_of_its_bounds_is_trained_and_reported(fresh: Path, say: Say) -> None:
    said = say("run", "smoke", "--arms", "sba,erm", "--report", *(f"--set={edge}" for edge in EDGES))
    assert said.code == 0, said.error
    assert len(list(fresh.rglob(f"seed-{LAST_SEED}.json"))) == 2
    assert "Edges" in (fresh / "results" / "smoke" / "README.md").read_text(encoding="utf-8")

"""Settings of a study: validated, frozen tables. Every rule is declared beside its field or table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from benchmark.runtime.errors import nearest, shown
from benchmark.settings.names import dotted, table
from benchmark.settings.values import (
    MAX_NUMBER,
    MAX_TRIALS,
    Batch,
    Contradiction,
    Distinct,
    Endpoint,
    Epochs,
    Eps,
    Images,
    ImagesOrZero,
    L2Eps,
    Name,
    NotEmpty,
    NotNegative,
    Number,
    Percent,
    Pixels,
    PixelsOrZero,
    Positive,
    Rising,
    Seed,
    Seeds,
    Settings,
    Share,
    Steps,
    Text,
    Title,
    known,
    too_large,
)

SAMPLE = 2000  # training images, at least, that a network's normalisation and whitening are computed from


class DataSettings(Settings):
    """Which images; 0 training images means all that the validation split leaves.

    `streamed` images stay files, for sets too large for the memory: each is decoded anew in every epoch, its shorter
    side resized to `resize` (0 means `pixels`), and the centre of `pixels` x `pixels` cut out. Their standard
    augmentation is a random resized crop, and mirroring. `synthetic` images are made up, in the data set's format: its
    checksums and numbers of images are not compared, and the record is marked.
    """

    dataset: Annotated[Text, known("data set")]
    pixels: Pixels = 32
    train_images: ImagesOrZero = 0
    test_images: ImagesOrZero = 0
    validation_images: ImagesOrZero = 0
    split_seed: Seed = 0
    streamed: bool = False
    resize: PixelsOrZero = 0
    synthetic: bool = False

    def _contradictions(self) -> Iterator[Contradiction]:
        if self.resize and not self.streamed:
            yield "resize", self.resize, "needs data.streamed = true"
        if 0 < self.resize < self.pixels:
            yield "resize", self.resize, f"must be 0 or at least data.pixels = {self.pixels}"

    @property
    def name(self) -> str:
        """The data set's name in records and random streams: of an own folder "./" and its name, not where it lies."""
        return f"./{Path(self.dataset).resolve().name}" if "/" in self.dataset else self.dataset


class ModelSettings(Settings):
    """Which network."""

    name: Annotated[Text, known("network")]


class Recipe(Settings):
    """Nesterov SGD with a triangular learning rate, or one that falls in steps.

    The rate rises linearly from `initial` x learning_rate to learning_rate at the share `peak` of all steps and
    falls linearly to `final` x learning_rate at the last; with `drops` it instead stays where it is and falls tenfold
    at each of these shares. `padding` and `flip` are the standard augmentation's: a random crop of the image padded by
    `padding` pixels, and mirroring, for arms that use it; streamed images have random resized crops instead.

    `batch_size` images make a step, however many processes share them. With `accumulate` they are taken in that many
    parts, one after the other (gradient accumulation), each of which is a batch to the method and to BatchNorm. With
    `compile` the network is trained through torch.compile where one process has a GPU, which rounds otherwise.
    """

    epochs: Epochs
    batch_size: Batch
    learning_rate: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 5e-4
    initial: Share = 0.2
    peak: Share = 0.25
    final: Share = 0.0
    padding: PixelsOrZero = 4
    flip: bool = True
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    drops: Annotated[tuple[Share, ...], Rising] = ()
    accumulate: Batch = 1
    compile: bool = False


class Attack(Settings):
    """One attack; `steps` are gradient steps (1 for FGSM), for Square queries."""

    name: Annotated[Text, known("attack")]
    steps: Steps


class Checks(Settings):
    """The budget of the costly sanity checks, on the first images of the attacked set's stratified order.

    `images`: for the extreme eps, random noise, PGD at other logit scales, the transfer attack and Square with
    `square_queries`. `repeated`: for the suite with `long_steps` and for the reference implementation of AutoAttack,
    whose standard steps and queries only smoke runs cut short. `seeds`: the seeds whose runs are checked, and tested
    under noise and corruptions, which decide nothing; None means all.
    """

    images: Images
    square_queries: Steps
    repeated: Images
    long_steps: Steps
    reference_steps: Steps = 100
    reference_queries: Steps = 5000
    seeds: Seeds | None = None


class Evaluation(Settings):
    """Attacks on a fixed, class-stratified set of images of the evaluated split.

    `eps` are Linf radii in units of 1/255, `l2_eps` Euclidean radii of images in [0, 1]. Without `checks` only the
    sanity checks run that cost nothing.
    """

    split: Literal["test", "validation"] = "test"
    images: Images
    batch_size: Batch
    eps: Annotated[tuple[Eps, ...], NotEmpty, Rising]
    attacks: Annotated[tuple[Attack, ...], NotEmpty]
    l2_eps: Annotated[tuple[L2Eps, ...], Rising] = ()
    l2_attacks: tuple[Attack, ...] = ()
    checks: Checks | None = None

    def _contradictions(self) -> Iterator[Contradiction]:
        if bool(self.l2_eps) != bool(self.l2_attacks):
            yield "l2_eps", list(self.l2_eps), "goes together with evaluation.l2_attacks: name both or none"

    def is_checked(self, seed: int) -> bool:
        """Return whether runs of this seed get the costly checks (if there are any), noise and corruptions."""
        return self.checks is None or self.checks.seeds is None or seed in self.checks.seeds


class OwnRecipe(Settings):
    """Values that replace the recipe's for an arm whose method was tuned."""

    learning_rate: Positive | None = None
    weight_decay: NotNegative | None = None


class Arm(Settings):
    """A method, its settings (the others are the method's defaults) and an augmentation.

    `epochs` replaces the recipe's, for an arm that is to spend as much as another; `recipe` replaces its learning rate
    and weight decay, for an arm that was tuned. `seeds` are the study's seeds at which the arm runs, all by default; an
    arm that is tested runs at all of them.
    """

    method: Text
    augmentation: Literal["none", "standard"]
    settings: dict[str, Any] = {}  # noqa: RUF012  # pydantic copies it
    epochs: Epochs | None = None
    recipe: OwnRecipe | None = None
    seeds: Seeds | None = None

    def _contradictions(self) -> Iterator[Contradiction]:
        yield from too_large("settings", self.settings)


class Analysis(Settings):
    """The comparisons to test, named before the run.

    `treatment` is compared with every arm in `against` and in `relatives` on each of `endpoints`, the primary first.
    These are two families of comparisons: Holm's correction runs over the arms of one family, within an endpoint.
    `against` are the arms of the claims, `relatives` the methods closest to the treatment, which answer a question of
    their own: is it more than they are? `eps` (1/255) and `level` (clean accuracy in %) are those read singly;
    accuracies that differ by at most `margin` percentage points count as equivalent. In an exploratory study each arm
    is compared with the treatment and nothing is decided: it chooses settings. `positive_control` names an
    adversarially trained arm, which must be robust at the largest eps, or the attacks or the training are broken.

    Endpoints: `clean` accuracy after the last epoch; `area` under the curve of accuracy over Linf eps; accuracy at
    `eps`; `learning`, the area under the curve of accuracy over training; `images` and `seconds` of training until the
    accuracy reaches `level`. `levels` are tabulated.
    """

    treatment: Name
    against: Annotated[tuple[Name, ...], NotEmpty, Distinct]
    relatives: Annotated[tuple[Name, ...], Distinct] = ()
    eps: Eps
    margin: Annotated[float, Field(gt=0, le=100)]
    endpoints: Annotated[tuple[Endpoint, ...], NotEmpty, Distinct] = (
        "clean",
        "area",
        "eps",
        "learning",
        "images",
        "seconds",
    )
    level: Percent = 70.0
    levels: Annotated[tuple[Percent, ...], NotEmpty, Rising] = (60.0, 70.0, 80.0)
    exploratory: bool = False
    positive_control: Name | None = None

    def _contradictions(self) -> Iterator[Contradiction]:
        if self.level not in self.levels:
            yield "levels", list(self.levels), f"must hold analysis.level = {self.level}"
        measures = table("endpoint")
        for name in self.endpoints:
            if problem := measures[name].problem:
                yield "endpoints", name, problem
        for key, arms in (("against", self.against), ("relatives", self.relatives)):
            if self.treatment in arms:
                yield key, list(arms), f"names the treatment {self.treatment!r} itself"
        if both := [arm for arm in self.relatives if arm in self.against]:
            yield "relatives", list(self.relatives), f"{both[0]!r} is in analysis.against too"

    def roles(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the name of each arm that is tested."""
        yield "treatment", self.treatment
        yield from (("against", arm) for arm in self.against)
        yield from (("relatives", arm) for arm in self.relatives)


class Ablation(Settings):
    """How an ablation shrinks its study: parts of the data, epochs, attacks, seeds; always on the validation split.

    `equal_compute_epochs` are those that let plain training spend the FLOPs of the default SBA, `all_layers` the
    network's stages.
    """

    seeds: Seeds
    train_images: Images
    validation_images: Images
    epochs: Epochs
    equal_compute_epochs: Epochs
    all_layers: Annotated[tuple[Text, ...], NotEmpty, Distinct]
    attacked_images: Images
    eps: Annotated[tuple[Eps, ...], NotEmpty, Rising]
    attacks: Annotated[tuple[Attack, ...], NotEmpty]


class Dimension(Settings):
    """Values that a search tries for one setting: an interval, or `feasible_points`, each equally often.

    The names are those of AlgoPerf's search spaces (Dahl et al., arXiv:2306.07179).
    """

    min: Number | None = None
    max: Number | None = None
    scaling: Literal["linear", "log"] = "linear"
    feasible_points: tuple[Any, ...] = ()

    def _contradictions(self) -> Iterator[Contradiction]:
        low, high, points = self.min, self.max, list(self.feasible_points)
        yield from too_large("feasible_points", points)
        if points:
            if (low, high) != (None, None):
                yield "feasible_points", points, "leave it out, or min and max"
        elif low is None or high is None:
            yield "min" if low is None else "max", None, "write min and max, or feasible_points"
        elif low >= high:
            yield "min", low, f"must be below max = {high:g}"
        elif self.scaling == "log" and low < 1 / MAX_NUMBER:
            yield "min", low, f"must be above 0 where scaling is log, and at least {1 / MAX_NUMBER:g}"


class SharedSpace(Settings):
    """The dimensions that are searched for every arm."""

    learning_rate: Dimension
    weight_decay: Dimension

    def _contradictions(self) -> Iterator[Contradiction]:
        for name, dimension in self:
            ends = {"min": (dimension.min,), "max": (dimension.max,), "feasible_points": dimension.feasible_points}
            for key, values in ends.items():
                for value in values:
                    try:
                        OwnRecipe.model_validate({name: value})  # it takes None, an end that is not there
                    except ValidationError as error:
                        yield f"{name}.{key}", value, error.errors()[0]["msg"]


class Tuning(Settings):
    """A search with the same number of trials for every arm, scored by clean accuracy on the validation split.

    `recipe` are the dimensions that all arms share, `arms` those of each arm's own method. The trials' `seeds` and the
    `fresh_seeds` of the study of the best trials are not those of the preset.
    """

    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)]
    seeds: Seeds
    fresh_seeds: Seeds
    validation_images: Images
    recipe: SharedSpace
    arms: Annotated[dict[Name, dict[Text, Dimension]], Field(min_length=2)]

    def _contradictions(self) -> Iterator[Contradiction]:
        if self.trials & (self.trials - 1):
            problem = "a Sobol sequence is balanced at powers of two only: 1, 2, 4, 8, 16, ..."
            yield "trials", self.trials, problem
        yield from _used_twice("fresh_seeds", self.fresh_seeds, "tuning.seeds", self.seeds)


class Preset(Settings):
    """A study: everything that decides what its runs compute and how they are compared.

    With `compute` no arm trains for its epochs, but each until it has spent the FLOPs that plain training spends in the
    recipe's; the learning rate then follows the share of FLOPs spent. `compute_arms` are those that run in this mode,
    all by default.
    """

    name: Name
    title: Title
    seeds: Seeds
    data: DataSettings
    model: ModelSettings
    recipe: Recipe
    evaluation: Evaluation
    arms: Annotated[dict[Name, Arm], NotEmpty]
    analysis: Analysis
    ablation: Ablation | None = None
    tuning: Tuning | None = None
    compute: bool = False
    compute_arms: Annotated[tuple[Name, ...], Distinct] = ()

    def _contradictions(self) -> Iterator[Contradiction]:
        data, evaluation, analysis = self.data, self.evaluation, self.analysis
        yield from self._contradicting_arms()
        if analysis.eps not in evaluation.eps:
            yield "analysis.eps", analysis.eps, f"is not in evaluation.eps = {shown(list(evaluation.eps))}"
        if evaluation.checks and evaluation.checks.seeds:
            yield from self._unnamed_seeds("evaluation.checks.seeds", evaluation.checks.seeds)
        if evaluation.split == "validation" and not data.validation_images:
            yield "evaluation.split", evaluation.split, "needs data.validation_images above 0"
        if self.recipe.padding >= data.pixels:
            yield "recipe.padding", self.recipe.padding, f"must be below data.pixels = {data.pixels}"
        if self.tuning:
            for arm in self.tuning.arms:
                yield from self._unknown_arm(f"tuning.arms.{dotted([arm])}", arm)
            for key in ("seeds", "fresh_seeds"):
                yield from _used_twice(f"tuning.{key}", getattr(self.tuning, key), "seeds", self.seeds)

    def _contradicting_arms(self) -> Iterator[Contradiction]:
        analysis, methods = self.analysis, table("method")
        control = [("positive_control", analysis.positive_control)] if analysis.positive_control else []
        for key, name in (*analysis.roles(), *control):
            yield from self._unknown_arm(f"analysis.{key}", name)
        for name in self.compute_arms:
            yield from self._unknown_arm("compute_arms", name)
        compared = analysis.treatment in self.compute_arms and not {*analysis.against}.isdisjoint(self.compute_arms)
        if self.compute_arms and not compared:
            problem = f"must name analysis.treatment = {analysis.treatment!r} and an arm of analysis.against"
            yield "compute_arms", list(self.compute_arms), problem
        tested = {arm for _, arm in analysis.roles()}
        for name, arm in self.arms.items():
            key = f"arms.{dotted([name])}"
            if arm.method not in methods:
                yield f"{key}.method", arm.method, f"there is no such method; {nearest(arm.method, methods)}"
            if arm.seeds is not None:
                yield from self._unnamed_seeds(f"{key}.seeds", arm.seeds)
                if name in tested and len(arm.seeds) < len(self.seeds):
                    problem = "the arm is tested, so it runs at all seeds of the study"
                    yield f"{key}.seeds", list(arm.seeds), problem

    def _unknown_arm(self, key: str, arm: str) -> Iterator[Contradiction]:
        if arm not in self.arms:
            yield key, arm, f"no such arm; {nearest(arm, self.arms)}"

    def _unnamed_seeds(self, key: str, seeds: tuple[int, ...]) -> Iterator[Contradiction]:
        if unnamed := [seed for seed in seeds if seed not in self.seeds]:
            yield key, list(seeds), f"{unnamed[0]} is not among the study's seeds = {shown(list(self.seeds))}"


def _used_twice(key: str, seeds: tuple[int, ...], other: str, used: tuple[int, ...]) -> Iterator[Contradiction]:
    if both := [seed for seed in seeds if seed in used]:
        yield key, list(seeds), f"{other} has {both[0]} too; each seed has one use"

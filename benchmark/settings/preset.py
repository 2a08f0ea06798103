"""Settings: what a preset may say, as validated, frozen tables."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from benchmark.runtime.errors import nearest
from benchmark.settings.names import table

SAMPLE = 2000  # training images, at least, that a network's normalisation and whitening are computed from
MAX_SEEDS = 1000  # of a study, which names each of them in its records and tables
# What no study needs more of: counts; numbers, which float32 holds with room to multiply them; rows of a batch; pixels.
MOST, LARGEST, MOST_IN_A_BATCH, MOST_PIXELS = 2**31, 1e30, 2**16, 2**13
MARKUP = "|<>[]`*\\"
# Windows opens a device where one of these names a folder.
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def _no_device(name: str) -> str:
    if name in DEVICES:
        raise ValueError("Windows keeps this name for a device, so it can name no folder")
    return name


def _endpoint(name: str) -> str:
    rows = table("endpoint")
    if name not in rows:
        raise ValueError(f"there is no such endpoint; {nearest(name, rows)}".removesuffix("."))
    return name


def _plain(title: str) -> str:
    if found := [character for character in MARKUP if character in title]:
        raise ValueError(f"a title may not have {' '.join(found)}, which mean something in a page of Markdown")
    return title


Text = Annotated[str, Field(min_length=1)]
Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60), AfterValidator(_no_device)]  # of a folder
Count = Annotated[int, Field(ge=1, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
BatchSize = Annotated[int, Field(ge=1, le=MOST_IN_A_BATCH)]
Pixels = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(gt=0, lt=100)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MAX_SEEDS)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]


class Settings(BaseModel):
    """Base of all settings: frozen, strict types, no unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class DataSettings(Settings):
    """Which images; 0 training images means all that the validation split leaves.

    `streamed` images stay files, for sets too large for the memory: each is decoded anew in every epoch, its shorter
    side resized to `resize` (0 means `pixels`), and the centre of `pixels` x `pixels` cut out. Their standard
    augmentation is a random resized crop, and mirroring. `synthetic` images are made up, in the data set's format: its
    checksums and numbers of images are not compared, and the record says so.
    """

    dataset: Text
    pixels: Pixels = 32
    train_images: CountOrZero = 0
    test_images: CountOrZero = 0
    validation_images: CountOrZero = 0
    split_seed: Seed = 0
    streamed: bool = False
    resize: CountOrZero = 0
    synthetic: bool = False

    @property
    def name(self) -> str:
        """The data set's name in records and random streams: of an own folder "./" and its name, not where it lies."""
        return f"./{Path(self.dataset).resolve().name}" if "/" in self.dataset else self.dataset


class ModelSettings(Settings):
    """Which network."""

    name: Text


class Recipe(Settings):
    """Nesterov SGD with a triangular learning rate, or one that falls in steps.

    The rate rises linearly from `initial` x learning_rate to learning_rate at the share `peak` of all steps and
    falls linearly to `final` x learning_rate at the last; with `drops` it instead stays where it is and falls tenfold
    at each of these shares. `padding` and `flip` are the standard augmentation's: a random crop of the image padded by
    so many pixels, and mirroring, for arms that use it; streamed images have random resized crops instead.

    `batch_size` images make a step, however many processes share them. With `accumulate` they are taken in so many
    parts, one after the other (gradient accumulation), each of which is a batch to the method and to BatchNorm. With
    `compile` the network is trained through torch.compile where one process has a GPU, which rounds otherwise.
    """

    epochs: Count
    batch_size: BatchSize
    learning_rate: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 5e-4
    initial: Share = 0.2
    peak: Share = 0.25
    final: Share = 0.0
    padding: CountOrZero = 4
    flip: bool = True
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    drops: tuple[Share, ...] = ()
    accumulate: Count = 1
    compile: bool = False


class Attack(Settings):
    """One attack; `steps` are gradient steps (1 for FGSM), for Square queries."""

    name: Text
    steps: Count


class Checks(Settings):
    """What the costly sanity checks spend; they take the first images of the attacked set's stratified order.

    `images`: for the extreme eps, random noise, PGD at other logit scales, the transfer attack and Square with
    `square_queries`. `repeated`: for the suite with `long_steps` and for the reference implementation of AutoAttack,
    whose standard steps and queries only smoke runs cut short. `seeds`: the seeds whose runs are checked, and tested
    under noise and corruptions, which decide nothing; None means all.
    """

    images: Count
    square_queries: Count
    repeated: Count
    long_steps: Count
    reference_steps: Count = 100
    reference_queries: Count = 5000
    seeds: Seeds | None = None


class Evaluation(Settings):
    """Attacks on a fixed, class-stratified set of images of the evaluated split.

    `eps` are Linf radii in units of 1/255, `l2_eps` Euclidean radii of images in [0, 1]. Without `checks` only the
    sanity checks run that cost nothing.
    """

    split: Literal["test", "validation"] = "test"
    images: Count
    batch_size: BatchSize
    eps: Annotated[tuple[Positive, ...], Field(min_length=1)]
    attacks: Annotated[tuple[Attack, ...], Field(min_length=1)]
    l2_eps: tuple[Positive, ...] = ()
    l2_attacks: tuple[Attack, ...] = ()
    checks: Checks | None = None

    def is_checked(self, seed: int) -> bool:
        """Return whether runs of this seed get the costly checks (if there are any), noise and corruptions."""
        return self.checks is None or self.checks.seeds is None or seed in self.checks.seeds


class OwnRecipe(Settings):
    """What an arm trains with instead of the recipe's value, where its method was tuned."""

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
    settings: dict[str, Any] = {}
    epochs: Count | None = None
    recipe: OwnRecipe | None = None
    seeds: Seeds | None = None


class Analysis(Settings):
    """What is tested, named before the run.

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
    against: Annotated[tuple[Name, ...], Field(min_length=1)]
    relatives: tuple[Name, ...] = ()
    eps: Positive
    margin: Annotated[float, Field(gt=0, le=100)]
    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1)] = (
        "clean",
        "area",
        "eps",
        "learning",
        "images",
        "seconds",
    )
    level: Percent = 70.0
    levels: Annotated[tuple[Percent, ...], Field(min_length=1)] = (60.0, 70.0, 80.0)
    exploratory: bool = False
    positive_control: Name | None = None


class Ablation(Settings):
    """How an ablation shrinks its study: parts of the data, epochs, attacks, seeds; always on the validation split.

    `equal_compute_epochs` are those that let plain training spend the FLOPs of the default SBA, `all_layers` the
    network's stages.
    """

    seeds: Seeds
    train_images: Count
    validation_images: Count
    epochs: Count
    equal_compute_epochs: Count
    all_layers: Annotated[tuple[Text, ...], Field(min_length=1)]
    attacked_images: Count
    eps: Annotated[tuple[Positive, ...], Field(min_length=1)]
    attacks: Annotated[tuple[Attack, ...], Field(min_length=1)]


class Dimension(Settings):
    """Values that a search tries for one setting: an interval, or `feasible_points`, each equally often.

    The names are those of AlgoPerf's search spaces (Dahl et al., arXiv:2306.07179).
    """

    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None
    scaling: Literal["linear", "log"] = "linear"
    feasible_points: tuple[Any, ...] = ()


class SharedSpace(Settings):
    """What is searched for every arm."""

    learning_rate: Dimension
    weight_decay: Dimension


class Tuning(Settings):
    """A search with the same number of trials for every arm, scored by clean accuracy on the validation split.

    `recipe` are the dimensions that all arms share, `arms` those of each arm's own method. The trials' `seeds` and the
    `fresh_seeds` of the study of the best trials are not those of the preset.
    """

    trials: Annotated[int, Field(ge=1, le=1024)]
    seeds: Seeds
    fresh_seeds: Seeds
    validation_images: Count
    recipe: SharedSpace
    arms: Annotated[dict[Name, dict[Text, Dimension]], Field(min_length=2)]

    @field_validator("trials")
    @classmethod
    def _balanced(cls, trials: int) -> int:
        if trials & (trials - 1):
            raise ValueError("a Sobol sequence is balanced at powers of two only: 1, 2, 4, 8, 16, ...")
        return trials


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
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    analysis: Analysis
    ablation: Ablation | None = None
    tuning: Tuning | None = None
    compute: bool = False
    compute_arms: tuple[Name, ...] = ()

"""The fields of a record, results/<preset>/<arm>/seed-<n>.json. pydantic reads records by these types."""

import unicodedata
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, GetPydanticSchema, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from benchmark.settings.values import Endpoint

SCHEMA: Final = 2


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise ValueError("a text must be one line without control characters")
    return text


def _names_its_origin(environment: dict[str, str]) -> dict[str, str]:
    if missing := [key for key in ("device", "torch", "commit", "date") if not environment.get(key)]:
        raise ValueError(f"it does not name {', '.join(missing)}")
    return environment


Line = Annotated[str, Field(max_length=10_000), AfterValidator(_one_line)]
Text = Annotated[Line, Field(min_length=1)]
Hash = Annotated[str, Field(pattern=r"^[\w.-]*$", max_length=64)]  # empty where a network was not trained here
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
Count = Annotated[int, Field(ge=1, lt=2**63)]
CountOrZero = Annotated[int, Field(ge=0, lt=2**63)]
Flops = Annotated[int, Field(ge=0, le=10**24)]
Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[Finite, Field(gt=0)]
NotNegative = Annotated[Finite, Field(ge=0)]
Percent = Annotated[Finite, Field(ge=0, le=100)]
Table = dict[str, Any]


STRICT = ConfigDict(strict=True, extra="forbid")
OPEN = ConfigDict(strict=True, extra="allow")  # tables that other versions may extend; only these fields are read


@with_config(STRICT)
class DataInfo(TypedDict):
    """The data a run saw; `fingerprint` is the SHA-256 of the decoded pixels and labels, of streamed images that of the
    files' relative paths and sizes.
    """

    name: Text
    fingerprint: Hash
    classes: Annotated[int, Field(ge=2, lt=2**63)]
    train_images: Count
    test_images: Count
    synthetic: bool
    note: NotRequired[Text]  # a sentence or two for the report
    skipped: NotRequired[dict[Line, Line]]  # damaged files that others replaced, with the reason


@with_config(STRICT)
class ModelInfo(TypedDict):
    """The network; `flops` are those of one forward pass of one image (a multiply-add counts 2)."""

    name: Text
    parameters: CountOrZero
    flops: Flops


@with_config(STRICT)
class Epoch(TypedDict):
    """One epoch; accuracy in [0, 1] on the test set, `augmented` the share of augmented iterations.

    `images` is the number of images trained on, where that is not every whole batch (the last epoch of compute mode).
    """

    epoch: Count
    learning_rate: NotNegative
    train_loss: Finite
    accuracy: Share
    images_per_second: Positive
    seconds: NotNegative
    augmented: Share
    images: NotRequired[Count]


@with_config(STRICT)
class EpochAccuracy(TypedDict):
    """An epoch (from 1) and its test accuracy in [0, 1]."""

    epoch: Count
    accuracy: Share


@with_config(STRICT)
class Outcomes(TypedDict):
    """Which of n images were classified correctly: n bits, packed big-endian, base64."""

    n: Count
    correct: Base64


@with_config(STRICT)
class AttackOutcome(TypedDict):
    """Outcome of one attack at one eps: bits over the attacked images.

    A bit is 1 where the image is classified correctly without attack and neither this attack nor any listed
    before it at the same norm and eps fooled the network (joint evaluation), so the last attack of an
    eps gives the robust accuracy there. `eps` is in units of 1/255 for Linf, in pixel values of [0, 1] for L2.
    `steps` are queries for Square. `fooled` counts the images this attack alone turned, `gradients` the gradient
    samples (images x backward passes) it spent.
    """

    attack: Text
    norm: Literal["Linf", "L2"]
    eps: Positive
    steps: Count
    correct: Base64
    fooled: CountOrZero
    gradients: CountOrZero


@with_config(STRICT)
class Check(TypedDict):
    """A sanity check of `benchmark.evaluation.catalogue`: its figures, and the flag it raised."""

    number: Count
    name: Text
    figures: dict[str, Finite]
    flag: Text | None


@with_config(STRICT)
class Corrupted(TypedDict):
    """Number of attacked images that are correct under a corruption at a severity from 1 to 5."""

    kind: Text
    severity: Annotated[int, Field(ge=1, le=5)]
    correct: CountOrZero


@with_config(STRICT)
class Noise(TypedDict):
    """Number of attacked images that are correct under each of ten draws of uniform noise of Linf eps, in 1/255."""

    eps: Positive
    correct: CountOrZero


@with_config(STRICT)
class Calibration(TypedDict):
    """Expected calibration error in [0, 1] over `bins` bins, and negative log-likelihood in nats, of n images."""

    n: Count
    bins: Count
    ece: Share
    nll: NotNegative


@with_config(STRICT)
class Robustness(TypedDict):
    """The n attacked images and every attack's outcome, in float32.

    `images` are bits over the evaluated split, 1 where an image was attacked; all other bits are over the n attacked
    images in the split's order. `clean` are the bits without attack. `zero_gradient_share` is in [0, 1],
    `median_margin` in logits.
    """

    n: Count
    images: Base64
    clean: Base64
    attacks: list[AttackOutcome]
    noise: Noise | None
    corruptions: list[Corrupted]
    zero_gradient_share: Share
    median_margin: Finite


@with_config(STRICT)
class Cost(TypedDict):
    """Cost of the run: seconds of training and of attacks, gradient samples, FLOPs, bytes.

    `train_gradients` counts gradient samples (rows of a batch that were backpropagated: originals and copies);
    `train_flops` are forward and backward FLOPs of training, a multiply-add counted as 2; `attack_gradients` are
    attacked images x backward passes.
    """

    train_seconds: NotNegative
    attack_seconds: NotNegative
    train_gradients: CountOrZero
    train_flops: Flops
    attack_gradients: CountOrZero
    peak_memory_bytes: CountOrZero


@with_config(OPEN)
class _RanAttack(TypedDict):
    name: Text
    steps: Count


@with_config(OPEN)
class _RanArm(TypedDict):
    method: Text
    augmentation: Text
    settings: Table
    epochs: NotRequired[Count | None]


@with_config(OPEN)
class _RanRecipe(TypedDict):
    epochs: Count
    batch_size: Count


@with_config(OPEN)
class _RanEvaluation(TypedDict):
    images: Count
    eps: Annotated[list[Positive], Field(min_length=1)]
    attacks: Annotated[list[_RanAttack], Field(min_length=1)]
    l2_eps: NotRequired[list[Positive]]
    split: NotRequired[Literal["test", "validation"]]


@with_config(OPEN)
class _RanSettings(TypedDict):  # `settings_hash` covers all of it
    data: Table
    model: Table
    recipe: _RanRecipe
    evaluation: _RanEvaluation
    arm: _RanArm
    numerics: NotRequired[Count]
    compute: NotRequired[bool]


@with_config(OPEN)
class _Named(TypedDict):  # the preset's analysis, title and seeds
    title: Text
    treatment: Text
    against: list[Text]
    relatives: NotRequired[list[Text]]
    eps: Positive
    margin: Positive
    seeds: Annotated[list[CountOrZero], Field(min_length=1)]
    endpoints: NotRequired[Annotated[list[Endpoint], Field(min_length=1)]]
    level: NotRequired[Percent]
    levels: NotRequired[list[Percent]]
    exploratory: NotRequired[bool]
    positive_control: NotRequired[Text | None]


def _read_as(kind: Any) -> GetPydanticSchema:
    """Let pydantic check a plain dictionary by a type."""
    return GetPydanticSchema(lambda _source, handler: handler(kind))


@with_config(STRICT)
class Record(TypedDict):
    """The record of a finished run, results/<preset>/<arm>/seed-<n>.json.

    `weights_hash` is that of the initial weights, `final_weights_hash` that of the weights that were evaluated: older
    records and diverged runs have none.
    """

    schema: Literal[2]
    preset: Text
    arm: Text
    seed: CountOrZero
    settings: Annotated[Table, _read_as(_RanSettings)]
    settings_hash: Hash
    analysis: Annotated[Table, _read_as(_Named)]
    weights_hash: Hash
    final_weights_hash: NotRequired[Hash]
    order_hash: Hash
    data: DataInfo
    model: ModelInfo
    epochs: list[Epoch]
    last_epoch: EpochAccuracy | None
    best_epoch: EpochAccuracy | None
    clean: Outcomes | None
    calibration: Calibration | None
    robustness: Robustness | None
    checks: list[Check]
    flags: list[Text]
    cost: Cost
    environment: Annotated[dict[str, Line], AfterValidator(_names_its_origin)]
    status: Literal["done", "diverged"]
    reason: Text | None


@with_config(STRICT)
class CrosscheckRow(TypedDict):
    """One attack on one network by two packages: the images that survived each, and those with different outcomes.

    They are kept in results/<preset>/crosscheck.json.
    """

    arm: Text
    seed: CountOrZero
    norm: Literal["Linf", "L2"]
    eps: Positive
    attack: Text
    steps: Count
    package: Text
    images: CountOrZero
    ours: CountOrZero
    theirs: CountOrZero
    disagreements: CountOrZero


@with_config(STRICT)
class AutoAttackRow(TypedDict):
    """AutoAttack standard on one run at one Linf eps (in 1/255), on the first n of the study's attacked images.

    `clean` counts the images that are correct without attack, `suite` those that the study's own attacks left correct
    too, `robust` those that AutoAttack left correct; `correct` are the bits of these, in the stratified order of the
    attacked images. `weights` is the hash of the attacked weights. Rows are kept in results/<preset>/autoattack.json.
    """

    arm: Text
    seed: CountOrZero
    eps: Positive
    images: Count
    clean: CountOrZero
    suite: CountOrZero
    robust: CountOrZero
    correct: Base64
    weights: Hash
    package: Text
    device: Text

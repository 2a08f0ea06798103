"""What a record holds: results/<preset>/<arm>/seed-<n>.json."""

from typing import Any, Literal, NotRequired, TypedDict

SCHEMA = 2


class DataInfo(TypedDict):
    """The data a run saw; `fingerprint` is the SHA-256 of the decoded pixels and labels, of streamed images that of the
    files' relative paths and sizes.
    """

    name: str
    fingerprint: str
    classes: int
    train_images: int
    test_images: int
    synthetic: bool
    note: NotRequired[str]  # a sentence or two for the report
    skipped: NotRequired[dict[str, str]]  # damaged files that others replaced, with the reason


class ModelInfo(TypedDict):
    """The network; `flops` are those of one forward pass of one image (a multiply-add counts 2)."""

    name: str
    parameters: int
    flops: int


class Epoch(TypedDict):
    """One epoch; accuracy in [0, 1] on the test set, `augmented` the share of augmented iterations.

    `images` is the number of images trained on, where that is not every whole batch (the last epoch of compute mode).
    """

    epoch: int
    learning_rate: float
    train_loss: float
    accuracy: float
    images_per_second: float
    seconds: float
    augmented: float
    images: NotRequired[int]


class EpochAccuracy(TypedDict):
    """An epoch (from 1) and its test accuracy in [0, 1]."""

    epoch: int
    accuracy: float


class Outcomes(TypedDict):
    """Which of n images were classified correctly: n bits, packed big-endian, base64."""

    n: int
    correct: str


class AttackOutcome(TypedDict):
    """Outcome of one attack at one eps: bits over the attacked images.

    A bit is 1 where the image is classified correctly without attack and neither this attack nor any listed
    before it at the same norm and eps fooled the network (joint evaluation), so the last attack of an
    eps gives the robust accuracy there. `eps` is in units of 1/255 for Linf, in pixel values of [0, 1] for L2.
    `steps` are queries for Square. `fooled` counts the images this attack alone turned, `gradients` the gradient
    samples (images x backward passes) it spent.
    """

    attack: str
    norm: Literal["Linf", "L2"]
    eps: float
    steps: int
    correct: str
    fooled: int
    gradients: int


class Check(TypedDict):
    """A sanity check: what it measured, and the flag it raised (see `benchmark.evaluation.sanity_checks`)."""

    number: int
    name: str
    figures: dict[str, float]
    flag: str | None


class Corrupted(TypedDict):
    """How many of the attacked images are correct under a corruption at a severity from 1 to 5."""

    kind: str
    severity: int
    correct: int


class Noise(TypedDict):
    """How many of the attacked images are correct under each of ten draws of uniform noise of Linf eps, in 1/255."""

    eps: float
    correct: int


class Calibration(TypedDict):
    """Expected calibration error in [0, 1] over so many bins, and negative log-likelihood in nats, of n images."""

    n: int
    bins: int
    ece: float
    nll: float


class Robustness(TypedDict):
    """The n attacked images and every attack's outcome, in float32.

    `images` are bits over the evaluated split, 1 where an image was attacked; all other bits are over the n attacked
    images in the split's order. `clean` are the bits without attack. `zero_gradient_share` is in [0, 1],
    `median_margin` in logits.
    """

    n: int
    images: str
    clean: str
    attacks: list[AttackOutcome]
    noise: Noise | None
    corruptions: list[Corrupted]
    zero_gradient_share: float
    median_margin: float


class Cost(TypedDict):
    """What the run spent: seconds of training and of attacks, gradient samples, FLOPs, bytes.

    `train_gradients` counts gradient samples (rows of a batch that were backpropagated: originals and copies);
    `train_flops` are forward and backward FLOPs of training, a multiply-add counted as 2; `attack_gradients` are
    attacked images x backward passes.
    """

    train_seconds: float
    attack_seconds: float
    train_gradients: int
    train_flops: int
    attack_gradients: int
    peak_memory_bytes: int


class Record(TypedDict):
    """Everything a finished run leaves (interface of results/<preset>/<arm>/seed-<n>.json).

    `weights_hash` is that of the initial weights, `final_weights_hash` that of the weights that were evaluated: older
    records and diverged runs have none.
    """

    schema: int
    preset: str
    arm: str
    seed: int
    settings: dict[str, Any]
    settings_hash: str
    analysis: dict[str, Any]
    weights_hash: str
    final_weights_hash: NotRequired[str]
    order_hash: str
    data: DataInfo
    model: ModelInfo
    epochs: list[Epoch]
    last_epoch: EpochAccuracy | None
    best_epoch: EpochAccuracy | None
    clean: Outcomes | None
    calibration: Calibration | None
    robustness: Robustness | None
    checks: list[Check]
    flags: list[str]
    cost: Cost
    environment: dict[str, str]
    status: Literal["done", "diverged"]
    reason: str | None


class CrosscheckRow(TypedDict):
    """One attack on one network by two packages: how many of n images stood, and how many had another outcome.

    They are kept in results/<preset>/crosscheck.json.
    """

    arm: str
    seed: int
    norm: str
    eps: float
    attack: str
    steps: int
    package: str
    images: int
    ours: int
    theirs: int
    disagreements: int

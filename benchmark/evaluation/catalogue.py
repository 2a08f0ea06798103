"""The attacks that presets may name, and the sanity checks of every evaluation; importing it loads no torch."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

Norm = Literal["Linf", "L2"]

TARGETS = 9  # classes that a targeted attack tries at most, as the reference AutoAttack does
STANDARD_STEPS, STANDARD_QUERIES = 100, 5000  # AutoAttack standard: of its attacks by gradients, and of Square
_QUIET = logging.getLogger(f"{__name__}.quiet")  # for messages that the sanity checks give too, such as zero gradients
_QUIET.disabled = True


class Setting(NamedTuple):
    """The setting of one attack: gradient steps (of Square queries), the ball (radius in [0, 1]), classes, seed."""

    steps: int
    norm: Norm
    radius: float
    classes: int
    seed: int

    @property
    def shared(self) -> dict[str, Any]:
        """Options of most attacks."""
        return {"norm": self.norm, "seed": self.seed}

    @property
    def targets(self) -> int:
        """Number of other classes that a targeted attack tries."""
        return min(TARGETS, self.classes - 1)


Options = Callable[[Setting], dict[str, Any]]


class AttackRow(NamedTuple):
    """One attack; options are those of the reference AutoAttack where torchattacks' defaults differ.

    Attributes:
        target: "package.module:class"; made as (model, eps=radius, **options), called as (images, labels).
        source: of the attack, in a line.
        options: the keyword arguments of the class.
        l2: target and options of the reference's class for L2, where torchattacks 3.5.1 departs from it.
        classes: number of classes that it needs, as many as its loss compares logits.
        linf_only: it has no L2 form, or one that depends on the batch size (torchattacks' PGDL2).
        any_step: it succeeds with any of its steps, not with the last alone.
        one_step: it takes a single step, and presets that name more are refused.
        scale_free: its results do not change with the scale of the logits; large logits hide a network's gradient
            from other attacks.
    """

    target: str
    source: str
    options: Options = lambda _setting: {}
    l2: tuple[str, Options] | None = None
    classes: int = 2
    linf_only: bool = False
    any_step: bool = False
    one_step: bool = False
    scale_free: bool = False


ATTACKS = {
    "fgsm": AttackRow(
        "torchattacks:FGSM", "Goodfellow et al., ICLR 2015, arXiv:1412.6572", linf_only=True, one_step=True
    ),
    "pgd": AttackRow(
        "torchattacks:PGD",
        "Madry et al., ICLR 2018, arXiv:1706.06083",
        # Their step; torchattacks' fixed 2/255 leaves small balls at once.
        lambda s: {"steps": s.steps, "alpha": 2.5 * s.radius / s.steps},
        linf_only=True,
    ),
    "apgd_ce": AttackRow(
        "torchattacks:APGD",
        "Croce and Hein, ICML 2020, arXiv:2003.01690, cross-entropy",
        lambda s: {**s.shared, "steps": s.steps, "loss": "ce"},
        any_step=True,
    ),
    "apgd_dlr": AttackRow(
        "torchattacks:APGD",
        "Croce and Hein, ICML 2020, arXiv:2003.01690, scale-free DLR loss",
        lambda s: {**s.shared, "steps": s.steps, "loss": "dlr"},
        classes=3,
        any_step=True,
        scale_free=True,
    ),
    # In L2, torchattacks' APGD-T moves a whole batch by the first image's step, and its Square measures a window over
    # all channels at once, where the reference takes each image's step and each channel.
    "apgd_t": AttackRow(
        "torchattacks:APGDT",
        "Croce and Hein, ICML 2020, arXiv:2003.01690, targeted DLR loss, 9 targets",
        lambda s: {**s.shared, "steps": s.steps, "n_classes": s.targets + 1},
        (
            "pyautoattack.autopgd_base:APGDAttack_targeted",
            lambda s: {**s.shared, "n_iter": s.steps, "n_target_classes": s.targets, "logger": _QUIET},
        ),
        classes=4,
        scale_free=True,
    ),
    "fab_t": AttackRow(
        "torchattacks:FAB",
        "Croce and Hein, ICML 2020, arXiv:1907.02044, minimal perturbation, 9 targets",
        lambda s: {**s.shared, "steps": s.steps, "n_classes": s.targets + 1, "multi_targeted": True},
        scale_free=True,
    ),
    "square": AttackRow(
        "torchattacks:Square",
        "Andriushchenko et al., ECCV 2020, arXiv:1912.00049, black box",
        lambda s: {**s.shared, "n_queries": s.steps, "resc_schedule": False},
        (
            "pyautoattack.square:SquareAttack",
            lambda s: {**s.shared, "n_queries": s.steps, "resc_schedule": False, "p_init": 0.8},
        ),
        scale_free=True,
    ),
}


def scale_warning(evaluation: Mapping[str, Any]) -> str | None:
    """Return a warning if no attack of some norm is scale-free (see `AttackRow`).

    A norm without attacks is not tested, and not warned of.

    Args:
        evaluation: that section of a record's settings.
    """
    known = [name for name, row in ATTACKS.items() if row.scale_free]
    keys = {"Linf": "attacks", "L2": "l2_attacks"}
    attacks = {norm: {attack["name"] for attack in evaluation.get(key, ())} for norm, key in keys.items()}
    lacking = [norm for norm, names in attacks.items() if names and not names & set(known)]
    if not lacking:
        return None
    return (
        f"No scale-free attack in {' and '.join(lacking)}: a network with large logits may only appear robust. Add "
        f"one of {', '.join(known)} to the preset's attacks."
    )


class Column(NamedTuple):
    """A figure of a check on the page of checks: a share of images in %, or a number of the "images" tested."""

    figure: str
    title: str
    percent: bool = True


class SanityCheck(NamedTuple):
    """One sanity check.

    Attributes:
        number: in records, flags and pages; unique.
        target: "package.module:function"; called as (case, **limits), it returns `Found`, both of
            `benchmark.evaluation.sanity_checks`.
        tests: the property that it tests, in Markdown.
        flag: when it raises a flag; limits are filled in by `str.format`.
        limits: of its figures, as keyword arguments of the function.
        images: the setting of [evaluation.checks] that holds the number of images for a costly check, one with attacks
            of its own; None for a check that always runs, on all attacked images.
        columns: its figures on the page of checks.
    """

    number: int
    target: str
    tests: str
    flag: str
    limits: Mapping[str, float] = {}
    images: str | None = None
    columns: tuple[Column, ...] = ()


_HERE = "benchmark.evaluation.sanity_checks"
_MORE = "more than {odd:.1%} of the images, and more than one"

# By rising number. An adversarially trained network shows 0.03 to 0.05 in `missed` and `hidden`, a network that hides
# its gradient 0.3.
SANITY_CHECKS = {
    "state": SanityCheck(
        1,
        f"{_HERE}:state",
        "modes, weights, buffers and the global generator are the same after a forward pass",
        "any of them is not",
    ),
    "logits": SanityCheck(
        2,
        f"{_HERE}:logits",
        "two forward passes agree, and their outputs are logits",
        "relative difference above {difference:g}; outputs that are probabilities",
        {"difference": 1e-5},
    ),
    "eps = 0": SanityCheck(
        3,
        f"{_HERE}:zero_eps",
        "attacks with eps = 0 fool no image; every perturbation is in its ball and in [0, 1]",
        "any image is fooled (an attack that leaves the ball is void)",
    ),
    "monotone": SanityCheck(
        4,
        f"{_HERE}:monotone",
        "accuracy falls with eps, and is about 0 under the whole suite at 64/255 (the latter is costly)",
        "any rise; more than {extreme:.1%} at 64/255",
        {"extreme": 0.02},
        columns=(Column("at 64/255", "all at 64/255, %"),),
    ),
    "order of attacks": SanityCheck(
        5,
        f"{_HERE}:order_of_attacks",
        "image by image, FGSM is no weaker than ten draws of uniform *noise*, and PGD no weaker than FGSM",
        _MORE,
        {"odd": 0.02},
        "images",
        (Column("noise", "noise, %"), Column("FGSM", "FGSM, %"), Column("PGD", "PGD, %")),
    ),
    "gradients": SanityCheck(
        6,
        f"{_HERE}:gradients",
        "cross-entropy has a gradient, and APGD-DLR fools few of the images that APGD-CE did not",
        "more than {zero:.1%} of the gradients exactly 0; more than {missed:.1%} of the images fooled",
        {"zero": 0.01, "missed": 0.1},
    ),
    "logit scale": SanityCheck(
        7,
        f"{_HERE}:logit_scale",
        "PGD is as strong as on the logits times 0.1 or 10; if it is weaker, its loss is saturated",
        "accuracy lower by more than {hidden:.1%} of the images with other logits",
        {"hidden": 0.1},
        "images",
        (Column("PGD, logits x0.1", "PGD x0.1, %"), Column("PGD, logits x10", "PGD x10, %")),
    ),
    "black box": SanityCheck(
        8,
        f"{_HERE}:black_box",
        "Square, which uses no gradient, fools no image that withstood the *suite*",
        _MORE,
        {"odd": 0.002},
        "images",
        (Column("fooled", "Square fools", percent=False),),
    ),
    "more steps": SanityCheck(
        9,
        f"{_HERE}:more_steps",
        "the suite with more steps fools no image that withstood it",
        _MORE,
        {"odd": 0.02},
        "repeated",
        (Column("fooled", "more steps fool", percent=False),),
    ),
    "transfer": SanityCheck(
        10,
        f"{_HERE}:transfer",
        "adversarial images of a surrogate, the same network after one epoch from another seed, fool fewer images "
        "(*transfer*) than the *suite*",
        f"more fooled than by the suite; of those that withstood it, {_MORE}",
        {"odd": 0.02},
        "images",
        (Column("transfer", "transfer, %"), Column("white box", "suite, %")),
    ),
    "reference AutoAttack": SanityCheck(
        11,
        f"{_HERE}:reference_autoattack",
        "AutoAttack standard, by its authors' package, fools no image that withstood the suite",
        _MORE,
        {"odd": 0.02},
        "repeated",
        (Column("fooled", "AutoAttack fools", percent=False),),
    ),
    "batch": SanityCheck(
        12,
        f"{_HERE}:batch",
        "an image has the same logits alone, in another order, among other images, and where gradients are computed",
        "a difference above {difference:.1%} of the largest distance of a logit from the image's mean",
        {"difference": 1e-3},
    ),
}

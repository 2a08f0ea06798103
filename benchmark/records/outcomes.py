"""Outcomes of one record: bits of images, packed and unpacked; accuracy, robust accuracy and the learning curve."""

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.records.schema import AttackOutcome, Record, Robustness

Floats = NDArray[np.float64]


def pack_bits(correct: Sequence[bool] | NDArray[np.bool_]) -> str:
    """Pack n booleans into base64 text, eight a byte, first boolean in the highest bit."""
    return base64.b64encode(np.packbits(np.asarray(correct, dtype=bool)).tobytes()).decode("ascii")


def unpack_bits(text: str, n: int) -> NDArray[np.bool_]:
    """Return the (n,) booleans that `pack_bits` packed.

    Raises:
        ValueError: the text is no base64 of exactly n bits.
    """
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except binascii.Error as error:
        raise ValueError(f"outcome bits are not base64: {error}") from error
    if len(packed) != (n + 7) // 8:
        raise ValueError(f"outcome bits hold {len(packed)} bytes, {n} images need {(n + 7) // 8}")
    if np.unpackbits(packed)[n:].any():
        raise ValueError(f"outcome bits go on behind those of {n} images")
    return np.unpackbits(packed, count=n).astype(bool)


def clean_accuracy(record: Record) -> float:
    """Return the share of all evaluated images that are correct after the last epoch, in percentage points.

    Raises:
        ValueError: the record has no outcomes, or damaged ones.
    """
    if record["clean"] is None:
        raise ValueError("a finished run has no outcome of the test images")
    outcomes = record["clean"]
    return 100.0 * int(unpack_bits(outcomes["correct"], outcomes["n"]).sum()) / outcomes["n"]


def robust_curve(record: Record, norm: str, eps: Floats) -> Floats:
    """Return the joint robust accuracy over eps in one norm, in percentage points of the attacked images.

    An image counts where it is correct without attack and under every attack of the norm at that eps.

    Args:
        record: of a finished run.
        norm: "Linf" or "L2".
        eps: (eps,), rising from 0, in the unit of the record.

    Returns:
        (eps,); nan where nothing was attacked.

    Raises:
        ValueError: there was no attack at one of the eps, or its outcomes are damaged.
    """
    robustness = record["robustness"]
    if robustness is None:
        return np.full(len(eps), np.nan)
    n = robustness["n"]
    counts = [int(unpack_bits(robustness["clean"], n).sum())]
    for value in eps[1:]:
        outcomes = [unpack_bits(attack["correct"], n) for attack in attacks_at(robustness, norm, float(value))]
        if not outcomes:
            raise ValueError(f"no {norm} attack at eps = {value:g}")
        counts.append(int(np.logical_and.reduce(outcomes).sum()))
    return 100.0 * np.array(counts) / n


def attacks_at(robustness: Robustness, norm: str, eps: float) -> list[AttackOutcome]:
    """Return the outcomes of the attacks at one norm and eps, in the order in which they ran."""
    return [attack for attack in robustness["attacks"] if attack["norm"] == norm and attack["eps"] == eps]


def learning_curve(record: Record) -> tuple[Floats, Floats, Floats]:
    """Return the accuracy on the evaluated images over the training.

    The first point is before training, where the accuracy is that of guessing, 100 / classes. Whole batches count; an
    epoch that was cut short (compute mode) has its own number of images.

    Returns:
        Images trained on (in thousands), seconds of training and accuracy (in percentage points), each (epoch + 1,).
    """
    batch = record["settings"]["recipe"]["batch_size"]
    whole = record["data"]["train_images"] // batch * batch
    images = [epoch.get("images", whole) for epoch in record["epochs"]]
    seconds = [epoch["seconds"] for epoch in record["epochs"]]
    accuracy = [100.0 * epoch["accuracy"] for epoch in record["epochs"]]
    guessing = 100.0 / record["data"]["classes"]
    return np.cumsum([0.0, *images]) / 1000, np.cumsum([0.0, *seconds]), np.array([guessing, *accuracy])

"""AutoAttack standard on a trained run: do the findings of a study on robustness survive it?

The attacks of a CPU study are short. Here the first of its attacked images meet the reference AutoAttack by its authors
(package pyautoattack; Croce and Hein, ICML 2020, arXiv:2003.01690) with its standard steps and queries.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from benchmark.data.load import Data
from benchmark.evaluation.attacks import Radius
from benchmark.evaluation.autoattack import reference_survivors
from benchmark.evaluation.catalogue import STANDARD_QUERIES, STANDARD_STEPS
from benchmark.evaluation.evaluate import attacked_images, evaluated_split
from benchmark.evaluation.joint import AttackedSet
from benchmark.records.outcomes import attacks_at, pack_bits, unpack_bits
from benchmark.records.schema import AutoAttackRow, Record
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run


def attack(
    run: Run, record: Record, attacked: AttackedSet, data: Data, eps: Sequence[float]
) -> Iterator[AutoAttackRow]:
    """Yield a row for each eps; all images are attacked in one batch.

    Args:
        run, record: of a trained network.
        attacked: the network, with the first of its attacked images.
        data: the run's data set.
        eps: Linf radii, in 1/255, at which the study attacked.

    Raises:
        UsageError: the study did not attack at an eps.
    """
    images = len(attacked.labels)
    chosen = attacked_images(run.preset, evaluated_split(run.preset, data))
    place = np.argsort(np.argsort(chosen))[:images]  # records list images in the split's order
    suite = {value: _suite_survivors(record, value)[place] for value in eps}
    attacked = attacked._replace(model=attacked.model.in_batches_of(images))
    for value in eps:
        ball = Radius("Linf", value)
        robust = reference_survivors(attacked, attacked.clean, ball, STANDARD_STEPS, STANDARD_QUERIES).cpu().numpy()
        yield AutoAttackRow(
            arm=run.arm,
            seed=run.seed,
            eps=value,
            images=images,
            clean=int(attacked.clean.sum()),
            suite=int(suite[value].sum()),
            robust=int(robust.sum()),
            correct=pack_bits(robust),
            weights=record.get("final_weights_hash", ""),
            package=f"pyautoattack {version('pyautoattack')}",
            device=attacked.images.device.type,
        )


def _suite_survivors(record: Record, eps: float) -> NDArray[np.bool_]:
    """Return which attacked images, (n,) in the split's order, the study's own attacks left correct at an Linf eps.

    Raises:
        UsageError: it did not attack there.
    """
    robustness = record["robustness"]
    outcomes = attacks_at(robustness, "Linf", eps) if robustness else []
    if not outcomes or not robustness:
        own = ", ".join(f"{value:g}" for value in record["settings"]["evaluation"]["eps"])
        raise UsageError(f"{record['preset']} made no attack at eps = {eps:g}/255; its own are {own}: --eps.")
    n = robustness["n"]
    found: NDArray[np.bool_] = np.logical_and.reduce([unpack_bits(outcome["correct"], n) for outcome in outcomes])
    return found

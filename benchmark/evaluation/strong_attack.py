"""AutoAttack standard on a trained run: does what a study says of robustness survive it?

The attacks of a CPU study are short. Here the first of its attacked images meet the reference AutoAttack by its authors
(package pyautoattack; Croce and Hein, ICML 2020, arXiv:2003.01690) with its standard steps and queries.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from benchmark.data.load import Data
from benchmark.evaluation.autoattack import stands_reference
from benchmark.evaluation.evaluate import attacked_images, evaluated_split
from benchmark.evaluation.joint import Radius, Subject
from benchmark.networks.build import weights_hash
from benchmark.records.autoattack import QUERIES, STEPS
from benchmark.records.outcomes import attacks_at, pack_bits, unpack_bits
from benchmark.records.schema import AutoAttackRow, Record
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run


def attack(run: Run, record: Record, subject: Subject, data: Data, eps: Sequence[float]) -> Iterator[AutoAttackRow]:
    """Yield a row for each eps; all images are attacked in one batch.

    Args:
        run: what was trained.
        record: its record.
        subject: its network, with the first of its attacked images.
        data: its data set.
        eps: Linf radii, in 1/255, at which the study attacked.

    Raises:
        UsageError: the network is not that of the record, or the study did not attack at an eps.
    """
    images, weights = len(subject.labels), record.get("final_weights_hash", "")
    if (found := weights_hash(subject.model.model)) != weights:
        raise UsageError(
            f"{run.arm} seed {run.seed}: the checkpoint has other weights ({found}) than the record's "
            f"({weights or 'not recorded'}). They are of two trainings: name the right folders by --runs and --results."
        )
    chosen = attacked_images(run.preset, evaluated_split(run.preset, data))
    place = np.argsort(np.argsort(chosen))[:images]  # records list images in the split's order
    suite = {value: survivors(record, value)[place] for value in eps}
    subject = subject._replace(model=subject.model.in_batches_of(images))
    for value in eps:
        robust = stands_reference(subject, subject.clean, Radius("Linf", value), STEPS, QUERIES).cpu().numpy()
        yield AutoAttackRow(
            arm=run.arm,
            seed=run.seed,
            eps=value,
            images=images,
            clean=int(subject.clean.sum()),
            suite=int(suite[value].sum()),
            robust=int(robust.sum()),
            correct=pack_bits(robust),
            weights=weights,
            package=f"pyautoattack {version('pyautoattack')}",
            device=subject.images.device.type,
        )


def survivors(record: Record, eps: float) -> NDArray[np.bool_]:
    """Return which attacked images, (n,) in the split's order, the study's own attacks left correct at an Linf eps.

    Raises:
        UsageError: it did not attack there.
    """
    outcomes = attacks_at(record, "Linf", eps)
    if not outcomes or not record["robustness"]:
        raise UsageError(f"{record['preset']} made no attack at eps = {eps:g}/255: there is nothing to compare.")
    n = record["robustness"]["n"]
    stood: NDArray[np.bool_] = np.logical_and.reduce([unpack_bits(outcome["correct"], n) for outcome in outcomes])
    return stood

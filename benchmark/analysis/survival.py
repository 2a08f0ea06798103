"""Whether a study's differences under its own attacks keep their sign under AutoAttack standard."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmark.analysis.paired import Floats
from benchmark.analysis.study import Study
from benchmark.records.schema import AutoAttackRow


class Survival(NamedTuple):
    """The treatment minus an arm on the same images, mean over the seeds of both, in points.

    `suite`: under the study's own attacks at an Linf eps (in 1/255); `robust`: under AutoAttack.
    """

    arm: str
    eps: float
    seeds: int
    suite: float
    robust: float

    @property
    def kept(self) -> bool:
        """Whether the sign is the same."""
        return bool(np.sign(self.suite) == np.sign(self.robust))


def shares(rows: Sequence[AutoAttackRow], eps: float) -> dict[tuple[str, int], dict[int, Floats]]:
    """Return (arm, images) -> seed -> (3,) % of the images: correct, under the study's attacks, under AutoAttack."""
    found: dict[tuple[str, int], dict[int, Floats]] = {}
    for row in rows:
        if row["eps"] == eps:
            counts = np.array([row["clean"], row["suite"], row["robust"]], dtype=np.float64)
            found.setdefault((row["arm"], row["images"]), {})[row["seed"]] = 100 * counts / row["images"]
    return found


def survivals(study: Study) -> list[Survival]:
    """Return the difference from each other arm that AutoAttack met on the same images and at the same seeds."""
    found = []
    for eps in sorted({row["eps"] for row in study.autoattack}):
        by_arm = shares(study.autoattack, eps)
        for (arm, images), theirs in by_arm.items():
            ours = by_arm.get((study.treatment, images), {})
            if arm != study.treatment and (seeds := sorted(ours.keys() & theirs.keys())):
                _, suite, robust = np.mean([ours[seed] - theirs[seed] for seed in seeds], axis=0)
                found.append(Survival(arm, eps, len(seeds), float(suite), float(robust)))
    return found

"""The reference AutoAttack (package pyautoattack, its authors' code), to check torchattacks by."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from benchmark.data.seeds import stream_seed
from benchmark.evaluation.attacks import Radius
from benchmark.evaluation.catalogue import TARGETS
from benchmark.evaluation.image_draws import isolated_generators
from benchmark.evaluation.joint import AttackedSet


def autoattack(attacked: AttackedSet, radius: Radius, seed: int) -> Any:
    """Return the reference AutoAttack, version "standard", with at most 9 targets; it needs 4 classes."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(attacked.model, norm=radius.norm, eps=radius.pixels, seed=seed, device=attacked.images.device)
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(TARGETS, attacked.classes - 1)
    attack.fab.targeted = True
    return attack


def reference_survivors(attacked: AttackedSet, left: Tensor, radius: Radius, steps: int, queries: int) -> Tensor:
    """Return which of the images marked in `left`, (N,) booleans, AutoAttack left correct; (N,) booleans.

    Its standard is 100 steps, and 5,000 queries of Square.
    """
    after, indices = left.clone(), left.nonzero().squeeze(1)
    if not len(indices):
        return after
    attacked = attacked.in_batches_for(len(indices))
    attack = autoattack(attacked, radius, stream_seed("reference", attacked.seed, str(radius)) % 2**31)
    for name in ("apgd_ce", "apgd_t", "fab_t"):
        part(attack, name, steps)
    part(attack, "square", queries)
    x, y = attacked.images[indices], attacked.labels[indices]
    with quietly_isolated():
        _, predicted = attack.run_standard_evaluation(x, y, batch_size=attacked.model.batch_size)
    after[indices] = predicted == y
    return after


def part(attack: Any, name: str, steps: int) -> Any:
    """Return one attack of AutoAttack, set to N steps (of Square queries) and the schedule that follows from them.

    `name` is apgd_ce, apgd_dlr, apgd_t, fab_t or square.
    """
    if name == "square":
        attack.square.n_queries = steps
        return attack.square
    part = {"apgd_t": attack.apgd_targeted, "fab_t": attack.fab}.get(name, attack.apgd)
    part.n_iter = steps
    if name != "fab_t":
        part.n_iter_2, part.n_iter_min = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1)
        part.size_decr = max(int(0.03 * steps), 1)
    if name in ("apgd_ce", "apgd_dlr"):
        part.loss = name.removeprefix("apgd_")
    return part


@contextmanager
def quietly_isolated() -> Iterator[None]:
    """Leave the global generators as they were; silence the package's log, whose warnings are sanity checks here."""
    log = logging.getLogger("auto-attack")
    disabled = log.disabled
    log.disabled = True
    try:
        with isolated_generators():
            yield
    finally:
        log.disabled = disabled

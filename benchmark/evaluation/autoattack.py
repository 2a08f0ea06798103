"""The reference AutoAttack (package pyautoattack, its authors' code), to check torchattacks by."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from benchmark.data.seeds import stream_seed
from benchmark.evaluation.attacks import TARGETS, predict
from benchmark.evaluation.image_draws import ImageStreams, isolated_generators
from benchmark.evaluation.joint import Radius, Subject, batches


def autoattack(subject: Subject, radius: Radius, seed: int) -> Any:
    """Return the reference AutoAttack, "standard", on 9 targets or as many as there are (it needs 4 classes)."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(subject.model, norm=radius.norm, eps=radius.pixels, seed=seed, device=subject.images.device)
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(TARGETS, subject.classes - 1)
    attack.fab.targeted = True
    return attack


def stands_reference(subject: Subject, left: Tensor, radius: Radius, steps: int, queries: int) -> Tensor:
    """Return which of the images marked in `left`, (N,) booleans, the standard AutoAttack left correct.

    Its standard is 100 steps, and 5,000 queries of Square.
    """
    after, indices = left.clone(), left.nonzero().squeeze(1)
    if not len(indices):
        return after
    subject = subject.in_batches_for(len(indices))
    attack = autoattack(subject, radius, stream_seed("reference", subject.seed, str(radius)) % 2**31)
    for name in ("apgd_ce", "apgd_t", "fab_t"):
        matched(attack, name, steps)
    matched(attack, "square", queries)
    x, y = subject.images[indices], subject.labels[indices]
    with isolated():
        _, predicted = attack.run_standard_evaluation(x, y, batch_size=subject.model.batch_size)
    after[indices] = predicted == y
    return after


def stands_matched(subject: Subject, left: Tensor, radius: Radius, name: str, steps: int) -> Tensor:
    """Return which of the images marked in `left` the reference's attack left correct at our settings and draws.

    Args:
        subject: what is attacked.
        left: (N,) booleans.
        radius: of the ball.
        name: apgd_ce, apgd_dlr, apgd_t, fab_t or square.
        steps: gradient steps, or queries of Square.
    """
    after = left.clone()
    for batch in batches(subject, left, radius, name):
        attack = matched(autoattack(subject, radius, batch.draws.shared), name, steps)
        with isolated(), ImageStreams(batch.draws.images):
            adversarial = attack.perturb(batch.images, batch.labels)
        after[batch.indices] = predict(subject.model, adversarial, subject.model.batch_size) == batch.labels
    return after


def matched(attack: Any, name: str, steps: int) -> Any:
    """Return one attack of the reference with so many steps."""
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
def isolated() -> Iterator[None]:
    """Leave the global generators as they were, and keep the package's log off the screen (our checks say the same)."""
    log = logging.getLogger("auto-attack")
    disabled = log.disabled
    log.disabled = True
    try:
        with isolated_generators():
            yield
    finally:
        log.disabled = disabled

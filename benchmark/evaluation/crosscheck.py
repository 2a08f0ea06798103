"""Crosscheck: the attacks of torchattacks beside those of pyautoattack and foolbox, image by image, on trained runs.

pyautoattack is the reference AutoAttack by its authors, foolbox another well-kept library (Rauber et al., JOSS 2020).
At the same settings and draws each image must have the same outcome. In L2, APGD-T and Square are the reference's own
(`attacks.by_reference`), so that there is nothing to compare.
"""

import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.load import Data
from benchmark.evaluation.attacks import Radius, by_reference, predict
from benchmark.evaluation.autoattack import matched_survivors, quietly_isolated
from benchmark.evaluation.catalogue import Norm
from benchmark.evaluation.evaluate import make_attacked_set
from benchmark.evaluation.external_models import load_weights, refuse_other_weights
from benchmark.evaluation.image_draws import ImageStreams
from benchmark.evaluation.joint import AttackedSet, batches, survivors
from benchmark.evaluation.sanity_checks import contested
from benchmark.networks.build import build_model
from benchmark.records.outcomes import robust_curve
from benchmark.records.schema import CrosscheckRow, Record
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run
from benchmark.settings.preset import Attack
from benchmark.training.checkpoint import refuse_other_network

REFERENCE = (("apgd_ce", 20), ("apgd_dlr", 20), ("apgd_t", 10), ("fab_t", 10), ("square", 200))  # name, steps
FOOLBOX = (("fgsm", 1), ("pgd", 20))


def compare(run: Run, record: Record, attacked: AttackedSet) -> Iterator[CrosscheckRow]:
    """Yield a row for each attack on one run, in each norm at the largest eps where a tenth of the images survive.

    Args:
        run: has a preset that attacks in Linf, perhaps in L2 too.
        record: the run's; it says where a tenth survive.
        attacked: the run's network with images.
    """
    settings = run.preset.evaluation
    balls = [_hardest(record, "Linf", settings.eps)]
    balls += [_hardest(record, "L2", settings.l2_eps)] if settings.l2_eps else []
    for ball in balls:
        for name, steps in [row for row in REFERENCE if not by_reference(row[0], ball.norm)]:
            theirs = matched_survivors(attacked, attacked.clean, ball, name, steps)
            yield _row(run, attacked, ball, Attack(name=name, steps=steps), "pyautoattack", theirs)
    for name, steps in FOOLBOX:
        attack = Attack(name=name, steps=steps)
        yield _row(run, attacked, balls[0], attack, "foolbox", foolbox_survivors(attacked, balls[0], attack))


def load_attacked_set(
    run: Run, record: Record, checkpoint: Path, data: Data, device: torch.device, images: int
) -> AttackedSet:
    """Return a run's trained network with the first of its attacked images.

    Raises:
        UsageError: there is no checkpoint of these settings, its weights are not those of the record, or the network
            has changed since.
    """
    if not checkpoint.is_file():
        raise UsageError(
            f"{run.arm} seed {run.seed} has no checkpoint {checkpoint}. Train it here: python -m benchmark run "
            f"{run.preset.name} --arms {run.arm} --seeds {run.seed} --force, or name its folder by --runs DIR."
        )
    weights, _ = load_weights(checkpoint)
    refuse_other_weights(checkpoint, weights, record)
    model = build_model(run.preset.model.name, data.sample, data.classes, 0)
    refuse_other_network(checkpoint, weights, model, run)
    model.load_state_dict(weights)
    attacked = make_attacked_set(run.preset, run.seed, model.to(device), data)
    return attacked.part(torch.arange(min(images, len(attacked.labels)), device=device))


def _hardest(record: Record, norm: Norm, eps: Sequence[float]) -> Radius:
    curve = robust_curve(record, norm, np.array([0.0, *eps]))
    return contested(norm, dict(zip(eps, curve[1:] / 100, strict=True)))


def _row(run: Run, attacked: AttackedSet, ball: Radius, attack: Attack, package: str, theirs: Tensor) -> CrosscheckRow:
    """Run torchattacks' attack; `theirs`: (N,) booleans, the survivors of the other package's."""
    ours = survivors(attacked, attacked.clean, ball, attack)
    return CrosscheckRow(
        arm=run.arm,
        seed=run.seed,
        norm=ball.norm,
        eps=ball.eps,
        attack=attack.name,
        steps=attack.steps,
        package=package,
        images=int(attacked.clean.sum()),
        ours=int(ours.sum()),
        theirs=int(theirs.sum()),
        disagreements=int((ours != theirs).sum()),
    )


def foolbox_survivors(attacked: AttackedSet, ball: Radius, attack: Attack) -> Tensor:
    """Return which images, (N,) booleans, foolbox's FGSM or PGD left correct, with our step size and random start.

    Raises:
        UsageError: foolbox is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # foolbox 3.3.4 imports an old name of scipy's
            foolbox: Any = import_module("foolbox")
    except ImportError as error:
        raise UsageError("crosscheck needs foolbox: python -m pip install foolbox.") from error
    made = {
        "fgsm": lambda: foolbox.attacks.LinfFastGradientAttack(random_start=False),
        "pgd": lambda: foolbox.attacks.LinfPGD(abs_stepsize=2.5 * ball.pixels / attack.steps, steps=attack.steps),
    }[attack.name]()
    network = foolbox.PyTorchModel(attacked.model, bounds=(0, 1), device=attacked.images.device)
    after = attacked.clean.clone()
    for batch in batches(attacked, attacked.clean, ball, attack.name):
        with quietly_isolated(), ImageStreams(batch.draws.images):
            _, adversarial, _ = made(network, batch.images, batch.labels, epsilons=ball.pixels)
        after[batch.indices] = predict(attacked.model, adversarial) == batch.labels
    return after

"""Other packages' attacks on trained runs: attack by attack beside torchattacks, and AutoAttack standard as a whole.

pyautoattack is the reference AutoAttack by its authors, foolbox another well-kept library (Rauber et al., JOSS 2020).
At the same settings and draws each image must have the same outcome. In L2, APGD-T and Square are the reference's own
(`attacks.by_reference`), so that there is nothing to compare.

The attacks of a CPU study are short. Whether its findings on robustness survive AutoAttack standard (Croce and Hein,
ICML 2020, arXiv:2003.01690) is tried on the first of its attacked images.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.load import Data
from benchmark.evaluation.attacks import Radius, by_reference, predict
from benchmark.evaluation.autoattack import autoattack, part, quietly_isolated, reference_survivors
from benchmark.evaluation.catalogue import STANDARD_QUERIES, STANDARD_STEPS, Norm
from benchmark.evaluation.evaluate import attacked_images, evaluated_split, make_attacked_set
from benchmark.evaluation.external_models import load_weights, refuse_other_weights
from benchmark.evaluation.image_draws import ImageStreams
from benchmark.evaluation.joint import AttackedSet, Batch, batches, survivors
from benchmark.evaluation.sanity_checks import contested
from benchmark.networks.build import build_model
from benchmark.records.outcomes import attacks_at, pack_bits, robust_curve, unpack_bits
from benchmark.records.schema import AutoAttackRow, CrosscheckRow, Record
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run
from benchmark.settings.preset import Attack
from benchmark.training.checkpoint import refuse_other_network

REFERENCE = (("apgd_ce", 20), ("apgd_dlr", 20), ("apgd_t", 10), ("fab_t", 10), ("square", 200))  # name, steps
FOOLBOX = (("fgsm", 1), ("pgd", 20))


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
            yield _row(run, attacked, ball, Attack(name=name, steps=steps), "pyautoattack")
    for name, steps in FOOLBOX:
        yield _row(run, attacked, balls[0], Attack(name=name, steps=steps), "foolbox")


def _hardest(record: Record, norm: Norm, eps: Sequence[float]) -> Radius:
    curve = robust_curve(record, norm, np.array([0.0, *eps]))
    return contested(norm, dict(zip(eps, curve[1:] / 100, strict=True)))


def _row(run: Run, attacked: AttackedSet, ball: Radius, attack: Attack, package: str) -> CrosscheckRow:
    """Run torchattacks' attack and the other package's, with the same draws."""
    ours, theirs = survivors(attacked, attacked.clean, ball, attack), attacked.clean.clone()
    for batch in batches(attacked, attacked.clean, ball, attack.name):
        with quietly_isolated(), ImageStreams(batch.draws.images):
            adversarial = PACKAGES[package](attacked, ball, attack, batch)
        theirs[batch.indices] = predict(attacked.model, adversarial) == batch.labels
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


def _by_pyautoattack(attacked: AttackedSet, ball: Radius, attack: Attack, batch: Batch) -> Tensor:
    made = part(autoattack(attacked, ball, batch.draws.shared), attack.name, attack.steps)
    adversarial: Tensor = made.perturb(batch.images, batch.labels)
    return adversarial


def load_foolbox() -> Any:
    """Return the module foolbox; UsageError if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # foolbox 3.3.4 imports an old name of scipy's
            return import_module("foolbox")
    except ImportError as error:
        raise UsageError("crosscheck needs foolbox: python -m pip install foolbox.") from error


def _by_foolbox(attacked: AttackedSet, ball: Radius, attack: Attack, batch: Batch) -> Tensor:
    """Attack by FGSM or PGD, with our step size and random start."""
    foolbox = load_foolbox()
    made = {
        "fgsm": lambda: foolbox.attacks.LinfFastGradientAttack(random_start=False),
        "pgd": lambda: foolbox.attacks.LinfPGD(abs_stepsize=2.5 * ball.pixels / attack.steps, steps=attack.steps),
    }[attack.name]()
    network = foolbox.PyTorchModel(attacked.model, bounds=(0, 1), device=attacked.images.device)
    adversarial: Tensor = made(network, batch.images, batch.labels, epsilons=ball.pixels)[1]
    return adversarial


# Each returns the adversarial images of a batch.
PACKAGES: dict[str, Callable[[AttackedSet, Radius, Attack, Batch], Tensor]] = {
    "pyautoattack": _by_pyautoattack,
    "foolbox": _by_foolbox,
}


def run_autoattack(
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
    """Return which attacked images, (n,) in the split's order, the study's own attacks left correct at an Linf eps."""
    robustness = record["robustness"]
    outcomes = attacks_at(robustness, "Linf", eps) if robustness else []
    if not outcomes or not robustness:
        own = ", ".join(f"{value:g}" for value in record["settings"]["evaluation"]["eps"])
        raise UsageError(f"{record['preset']} made no attack at eps = {eps:g}/255; its own are {own}: --eps.")
    n = robustness["n"]
    found: NDArray[np.bool_] = np.logical_and.reduce([unpack_bits(outcome["correct"], n) for outcome in outcomes])
    return found

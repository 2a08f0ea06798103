"""Crosscheck: the attacks of torchattacks beside those of pyautoattack and foolbox, image by image, on trained runs.

pyautoattack is the reference AutoAttack by its authors, foolbox another well-kept library (Rauber et al., JOSS 2020).
At the same settings and draws each image must have the same outcome. In L2, APGD-T and Square are the reference's own
(`attacks.by_reference`), so that there is nothing to compare.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.load import Data
from benchmark.evaluation.attacks import Norm, by_reference, predict
from benchmark.evaluation.autoattack import isolated, stands_matched
from benchmark.evaluation.evaluate import make_subject
from benchmark.evaluation.external_models import load_into, load_weights
from benchmark.evaluation.image_draws import ImageStreams
from benchmark.evaluation.joint import Radius, Subject, batches, stands
from benchmark.evaluation.sanity_checks import contested
from benchmark.execution.paths import Folders, RunPaths
from benchmark.networks.build import build_model
from benchmark.records.outcomes import robust_curve
from benchmark.records.schema import CrosscheckRow
from benchmark.records.store import read_record
from benchmark.runtime.environment import describe_environment
from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import write_whole
from benchmark.settings.plan import Run
from benchmark.settings.preset import Attack

REFERENCE = (("apgd_ce", 20), ("apgd_dlr", 20), ("apgd_t", 10), ("fab_t", 10), ("square", 200))  # name, steps
FOOLBOX = (("fgsm", 1), ("pgd", 20))
FILE = "crosscheck.json"


def crosscheck(runs: Sequence[Run], data: Data, folders: Folders, device: torch.device) -> list[CrosscheckRow]:
    """Compare every attack on every run that has a record and a checkpoint; print each row as it comes.

    Raises:
        UsageError: a run has no record or no checkpoint, or the preset attacks no L2 or makes no costly checks.
    """
    data, rows = data.to(device), []
    for run in runs:
        for row in compare(run, data, folders, device):
            print(
                f"{row['arm']} seed {row['seed']}, {row['attack']} {row['norm']} {row['eps']:g} "
                f"against {row['package']}: {row['disagreements']} of {row['images']} images differ",
                flush=True,
            )
            rows.append(row)
    return rows


def compare(run: Run, data: Data, folders: Folders, device: torch.device) -> Iterator[CrosscheckRow]:
    """Yield a row for each attack on one run, in each norm at the largest eps where a tenth of the images stand."""
    settings, checks = run.preset.evaluation, run.preset.evaluation.checks
    if checks is None:
        raise UsageError(f"preset {run.preset.name} has no [evaluation.checks]; their `repeated` says how many images.")
    subject = load_subject(run, data, folders, device, checks.repeated)
    balls = [hardest(run, folders, "Linf", settings.eps)]
    balls += [hardest(run, folders, "L2", settings.l2_eps)] if settings.l2_eps else []
    for ball in balls:
        for name, steps in [row for row in REFERENCE if not by_reference(row[0], ball.norm)]:
            theirs = stands_matched(subject, subject.clean, ball, name, steps)
            yield row_of(run, subject, ball, Attack(name=name, steps=steps), "pyautoattack", theirs)
    for name, steps in FOOLBOX:
        attack = Attack(name=name, steps=steps)
        yield row_of(run, subject, balls[0], attack, "foolbox", stands_foolbox(subject, balls[0], attack))


def load_subject(run: Run, data: Data, folders: Folders, device: torch.device, images: int) -> Subject:
    """Return the run's trained network with the first of its attacked images.

    Raises:
        UsageError: there is no checkpoint of these settings.
    """
    path = RunPaths(run, folders).checkpoint
    if not path.is_file():
        raise UsageError(
            f"{run.arm} seed {run.seed} has no checkpoint {path}. Train it here: python -m benchmark run "
            f"{run.preset.name} --arms {run.arm} --seeds {run.seed} --force, or name its folder by --runs DIR."
        )
    weights, _ = load_weights(path)
    model = build_model(run.preset.model.name, data.sample, data.classes, 0)
    load_into(model, weights, run.preset.model.name)
    subject, *_ = make_subject(run.preset, run.seed, model.to(device), data)
    return subject.part(torch.arange(min(images, len(subject.labels)), device=device))


def hardest(run: Run, folders: Folders, norm: Norm, eps: Sequence[float]) -> Radius:
    """Return the largest radius at which a tenth of the run's images stood, from its record.

    Raises:
        UsageError: the run has no record.
    """
    path = RunPaths(run, folders).record
    if not path.is_file():
        raise UsageError(f"there is no record {path}: run it first (python -m benchmark run {run.preset.name}).")
    curve = robust_curve(read_record(path), norm, np.array([0.0, *eps]))
    return contested(norm, dict(zip(eps, curve[1:] / 100, strict=True)))


def row_of(run: Run, subject: Subject, ball: Radius, attack: Attack, package: str, theirs: Tensor) -> CrosscheckRow:
    """Make the attack with torchattacks and set its outcome beside the other package's."""
    ours = stands(subject, subject.clean, ball, attack)
    return CrosscheckRow(
        arm=run.arm,
        seed=run.seed,
        norm=ball.norm,
        eps=ball.eps,
        attack=attack.name,
        steps=attack.steps,
        package=package,
        images=int(subject.clean.sum()),
        ours=int(ours.sum()),
        theirs=int(theirs.sum()),
        disagreements=int((ours != theirs).sum()),
    )


def stands_foolbox(subject: Subject, ball: Radius, attack: Attack) -> Tensor:
    """Return which images, (N,) booleans, foolbox's FGSM or PGD left correct, at our step size and random start.

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
    network = foolbox.PyTorchModel(subject.model, bounds=(0, 1), device=subject.images.device)
    after = subject.clean.clone()
    for batch in batches(subject, subject.clean, ball, attack.name):
        with isolated(), ImageStreams(batch.draws.images):
            _, adversarial, _ = made(network, batch.images, batch.labels, epsilons=ball.pixels)
        after[batch.indices] = predict(subject.model, adversarial, subject.model.batch_size) == batch.labels
    return after


def write_crosscheck(path: Path, rows: Sequence[CrosscheckRow], device: torch.device) -> None:
    """Write the rows with device and versions as JSON, a line each."""
    environment: dict[str, Any] = describe_environment(device)
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    text = f'{{\n"environment": {json.dumps(environment)},\n"rows": [\n  {lines}]\n}}\n'
    write_whole(path, lambda file: file.write(text.encode()))

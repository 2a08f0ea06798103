"""What joint evaluation saves: the suite jointly, and each of its attacks on its own on all images, in one run."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmark.data.load import data_roots, load_data
from benchmark.evaluation import sanity_checks as sanity
from benchmark.evaluation.evaluate import joint_curves, make_subject, standing
from benchmark.evaluation.external_models import load_weights, network
from benchmark.evaluation.joint import Radius, Subject, attack_jointly, stands, suite
from benchmark.records.outcomes import unpack_bits
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan
from benchmark.settings.preset import Attack, Evaluation
from benchmark.speed.lines import Line, Target, make_line
from benchmark.training.loop import train_epoch
from benchmark.training.state import start

# The cpu suite on digits, whose networks stand larger eps.
DIGITS = (
    "evaluation.images=500",
    "evaluation.eps=[2.0, 4.0, 8.0, 16.0, 32.0, 64.0]",
    'evaluation.attacks=[{name = "fgsm", steps = 1}, {name = "apgd_ce", steps = 20}, {name = "apgd_dlr", steps = 20}]',
    "evaluation.l2_eps=[0.2, 0.4, 1.0, 2.0]",
    'evaluation.l2_attacks=[{name = "apgd_dlr", steps = 5}, {name = "apgd_dlr", steps = 20}]',
    "evaluation.checks={images = 200, square_queries = 1000, repeated = 100, long_steps = 100}",
)
PART, CHEAPER, NONE = "attacks", Target(1.0, at_least=False), Target(0.0, at_least=False)


class Spent(NamedTuple):
    """Seconds and gradient samples of a piece of work."""

    seconds: float
    gradients: int


def attack_lines(device: torch.device, checkpoint: Path | None, data_root: Path | None) -> Iterator[Line]:
    """Yield the cost of a suite, joint over attack by attack, and the share of outcomes that differ; one round.

    Args:
        device: where it runs.
        checkpoint: of a run whose preset the package has; None trains a network on digits for it.
        data_root: where the checkpoint's data is looked for first.

    Raises:
        UsageError, DataError: see `external` and `data.load_data`.
    """
    name, subject, settings = digits(device) if checkpoint is None else trained(checkpoint, data_root, device)
    began = time.perf_counter()
    outcomes = attack_jointly(subject, settings, lambda _text, _share: None)
    joint = [Spent(time.perf_counter() - began, sum(outcome["gradients"] for outcome in outcomes))]
    n, apart, differing = len(subject.clean), [], 0
    left: dict[Radius, Tensor] = {}
    for (radius, attack), outcome in zip(suite(settings), outcomes, strict=True):
        alone, spent = timed_attack(subject, subject.clean, radius, attack)
        apart.append(spent)
        left[radius] = left.get(radius, subject.clean) & alone
        differing += int((left[radius].cpu() != torch.from_numpy(unpack_bits(outcome["correct"], n))).sum())
    yield line(f"suite of {len(outcomes)} attacks, {name}", joint, apart)
    if settings.checks:
        few = subject.part(torch.arange(min(settings.checks.images, n), device=device))
        radius = sanity.contested("Linf", joint_curves(outcomes, n)["Linf"])
        square = Attack(name="square", steps=settings.checks.square_queries)
        stood = standing(outcomes, radius, n).to(device)[: len(few.clean)]
        joint.append(timed_attack(few, stood, radius, square)[1])
        apart.append(timed_attack(few, few.clean, radius, square)[1])
        yield line(f"Square at {radius}, {name}", joint[-1:], apart[-1:])
        yield line(f"both, {name}", joint, apart)
    total = len(outcomes) * n
    right = float(subject.clean.sum())
    figures = {"outcomes": float(total), "that differ": float(differing), "images right without attack": right}
    what = "outcomes that differ between joint and separate attacks, over all outcomes"
    yield make_line(PART, what, [differing / total], figures, target=NONE)


def timed_attack(subject: Subject, left: Tensor, radius: Radius, attack: Attack) -> tuple[Tensor, Spent]:
    """Make one attack; return what it left standing, (N,) booleans, and what it spent."""
    before, began = subject.model.gradients, time.perf_counter()
    stood = stands(subject, left, radius, attack)
    return stood, Spent(time.perf_counter() - began, subject.model.gradients - before)


def line(name: str, joint: list[Spent], apart: list[Spent]) -> Line:
    """Return the line of some attacks: seconds made jointly over those of each on its own."""
    ours, theirs = sum(spent.seconds for spent in joint), sum(spent.seconds for spent in apart)
    figures = {
        "joint, s": ours,
        "separate, s": theirs,
        "joint, gradients": float(sum(spent.gradients for spent in joint)),
        "separate, gradients": float(sum(spent.gradients for spent in apart)),
    }
    return make_line(PART, f"{name}, joint over attack by attack", [ours / theirs], figures, target=CHEAPER)


def digits(device: torch.device) -> tuple[str, Subject, Evaluation]:
    """Return a network trained on digits, ready to be attacked."""
    preset = load_preset("smoke", DIGITS)
    run = make_plan(preset, ["erm"], preset.seeds[:1])[0]
    data = load_data(preset.data, []).to(device)
    state = start(run, data, device)
    for _ in range(run.epochs):
        state.epochs.append(train_epoch(run, state, data.train))
    return "erm on digits", make_subject(preset, 0, state.model, data)[0], preset.evaluation


def trained(checkpoint: Path, data_root: Path | None, device: torch.device) -> tuple[str, Subject, Evaluation]:
    """Return the network of a run's checkpoint, ready to be attacked.

    Raises:
        UsageError: the checkpoint does not say its run, or does not fit its preset.
    """
    weights, told = load_weights(checkpoint)
    if "preset" not in told:
        raise UsageError(f"{checkpoint} does not say which run it is of; take one from runs/<preset>/<arm>/.")
    preset = load_preset(str(told["preset"]))
    data = load_data(preset.data, data_roots(data_root))
    model = network(preset, data, None, weights).to(device)
    subject, *_ = make_subject(preset, int(told["seed"]), model, data.to(device))
    return f"{told['arm']} seed {told['seed']} of {preset.name}", subject, preset.evaluation

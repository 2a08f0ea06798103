"""The cost of evaluation: joint over separate attacks, and a run's evaluation over its training."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmark.data.load import Data, data_roots, load_data
from benchmark.evaluation.attacks import Radius
from benchmark.evaluation.evaluate import evaluate, make_attacked_set
from benchmark.evaluation.external_models import load_weights, network
from benchmark.evaluation.joint import AttackedSet, attack_jointly, joint_curves, joint_survivors, suite, survivors
from benchmark.evaluation.journal import Journal
from benchmark.evaluation.sanity_checks import contested
from benchmark.records.outcomes import unpack_bits
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan
from benchmark.settings.preset import Attack, Evaluation, Preset
from benchmark.speed.lines import Line, Target, make_line
from benchmark.training.loop import train_epoch
from benchmark.training.state import start
from benchmark.training.surrogate import train_surrogate

# The suite of the CPU presets, on digits, whose networks resist larger eps.
DIGITS = (
    "evaluation.images=500",
    "evaluation.eps=[2.0, 4.0, 8.0, 16.0, 32.0, 64.0]",
    'evaluation.attacks=[{name = "fgsm", steps = 1}, {name = "apgd_ce", steps = 20}, {name = "apgd_dlr", steps = 20}]',
    "evaluation.l2_eps=[0.2, 0.4, 1.0, 2.0]",
    'evaluation.l2_attacks=[{name = "apgd_dlr", steps = 5}, {name = "apgd_dlr", steps = 20}]',
    "evaluation.checks={images = 200, square_queries = 1000, repeated = 100, long_steps = 100}",
)
_ATTACKS, _CHEAPER, _NONE = "attacks", Target(1.0, at_least=False), Target(0.0, at_least=False)
_EVALUATION, _LIMIT = "evaluation", Target(0.6, at_least=False)
_OVER_TRAINING = "evaluation over training with the standard augmentation, a run's mean over the seeds of its study"
_PLAIN = "standard"  # the arm whose training is the base


class _Cost(NamedTuple):
    seconds: float
    gradients: int  # samples


def attack_lines(device: torch.device, checkpoint: Path | None, data_root: Path | None) -> Iterator[Line]:
    """Yield the cost of a suite, joint over attack by attack, and the share of outcomes that differ; one round.

    `checkpoint` is of a run whose preset is in the package; None trains a network on digits instead.

    Raises:
        UsageError, DataError: see `load_weights`, `network` and `load_data`.
    """
    name, attacked, settings = _digits(device) if checkpoint is None else _trained(checkpoint, data_root, device)
    began = time.perf_counter()
    outcomes = attack_jointly(attacked, settings, lambda _text, _share: None)
    joint = [_Cost(time.perf_counter() - began, sum(outcome["gradients"] for outcome in outcomes))]
    n, separate, differing = len(attacked.clean), list[_Cost](), 0
    left: dict[Radius, Tensor] = {}
    for (radius, attack), outcome in zip(suite(settings), outcomes, strict=True):
        alone, cost = _timed_attack(attacked, attacked.clean, radius, attack)
        separate.append(cost)
        left[radius] = left.get(radius, attacked.clean) & alone
        differing += int((left[radius].cpu() != torch.from_numpy(unpack_bits(outcome["correct"], n))).sum())
    yield _joint_line(f"suite of {len(outcomes)} attacks, {name}", joint, separate)
    if settings.checks:
        few = attacked.part(torch.arange(min(settings.checks.images, n), device=device))
        radius = contested("Linf", joint_curves(outcomes, n)["Linf"])
        square = Attack(name="square", steps=settings.checks.square_queries)
        robust = joint_survivors(outcomes, radius, n).to(device)[: len(few.clean)]
        joint.append(_timed_attack(few, robust, radius, square)[1])
        separate.append(_timed_attack(few, few.clean, radius, square)[1])
        yield _joint_line(f"Square at {radius}, {name}", joint[-1:], separate[-1:])
        yield _joint_line(f"both, {name}", joint, separate)
    total = len(outcomes) * n
    right = float(attacked.clean.sum())
    figures = {"outcomes": float(total), "that differ": float(differing), "images right without attack": right}
    what = "outcomes that differ between joint and separate attacks, over all outcomes"
    yield make_line(_ATTACKS, what, [differing / total], figures, target=_NONE)


def _timed_attack(attacked: AttackedSet, left: Tensor, radius: Radius, attack: Attack) -> tuple[Tensor, _Cost]:
    """Attack the images of `left`, (N,) booleans; return those that survive, (N,) booleans, and the cost."""
    before, began = attacked.model.gradients, time.perf_counter()
    after = survivors(attacked, left, radius, attack)
    return after, _Cost(time.perf_counter() - began, attacked.model.gradients - before)


def _joint_line(name: str, joint: Sequence[_Cost], separate: Sequence[_Cost]) -> Line:
    ours, theirs = (sum(cost.seconds for cost in costs) for costs in (joint, separate))
    figures = {
        "joint, s": ours,
        "separate, s": theirs,
        "joint, gradients": float(sum(cost.gradients for cost in joint)),
        "separate, gradients": float(sum(cost.gradients for cost in separate)),
    }
    return make_line(_ATTACKS, f"{name}, joint over attack by attack", [ours / theirs], figures, target=_CHEAPER)


def _digits(device: torch.device) -> tuple[str, AttackedSet, Evaluation]:
    """Train a network on digits and return its name, attacked images and suite."""
    preset = load_preset("smoke", DIGITS)
    run = make_plan(preset, ["erm"], preset.seeds[:1])[0]
    data = load_data(preset.data, []).to(device)
    state = start(run, data, device)
    for _ in range(run.epochs):
        state.epochs.append(train_epoch(run, state, data.train))
    return "erm on digits", make_attacked_set(preset, 0, state.model, data), preset.evaluation


def _load_run(checkpoint: Path) -> tuple[Mapping[str, Tensor], Mapping[str, Any], Preset]:
    """Return a checkpoint's weights and description, and the preset of its run."""
    weights, about = load_weights(checkpoint)
    if "preset" not in about:
        raise UsageError(f"{checkpoint} does not name its run; take one from runs/<preset>/<arm>/.")
    return weights, about, load_preset(str(about["preset"]))


def _trained(checkpoint: Path, data_root: Path | None, device: torch.device) -> tuple[str, AttackedSet, Evaluation]:
    """Load a run's checkpoint and return the run's name, attacked images and suite."""
    weights, about, preset = _load_run(checkpoint)
    data = load_data(preset.data, data_roots(data_root))
    model = network(preset, data, None, weights).to(device)
    attacked = make_attacked_set(preset, int(about["seed"]), model, data.to(device))
    return f"{about['arm']} seed {about['seed']} of {preset.name}", attacked, preset.evaluation


def evaluation_lines(device: torch.device, checkpoint: Path | None, data_root: Path | None) -> Iterator[Line]:
    """Yield the line of evaluation over training; without a checkpoint nothing is measured.

    One epoch is trained, and the network evaluated once at a checked seed. The costly checks are weighted by the share
    of the study's seeds that are checked. The checkpoint's preset is in the package and has an arm `standard`.

    Raises:
        UsageError, DataError: see `load_weights` and `load_data`; the preset has no arm `standard`.
    """
    if checkpoint is None:
        yield make_line(_EVALUATION, _OVER_TRAINING, [], {}, target=_LIMIT)
        return
    weights, about, preset = _load_run(checkpoint)
    if _PLAIN not in preset.arms:
        raise UsageError(f"preset {preset.name} has no arm {_PLAIN!r}, over whose training evaluation is measured.")
    seeds = [seed for seed in preset.seeds if preset.evaluation.is_checked(seed)]
    data: Data = load_data(preset.data, data_roots(data_root)).to(device)
    run = make_plan(preset, [_PLAIN], preset.seeds[:1])[0]
    state = start(run, data, device)
    training = train_epoch(run, state, data.train)["seconds"] * run.epochs
    model = network(preset, data, None, weights).to(device)
    journal, began = Journal(), time.perf_counter()
    surrogate = partial(train_surrogate, preset, data, device)
    evaluate(preset, seeds[0], model, data, surrogate, lambda _text, _share: None, journal)
    whole = time.perf_counter() - began
    attacks = len(suite(preset.evaluation))  # the journal's first parts; only checked seeds have the others
    costly = sum(part["seconds"] for part in list(journal.parts.values())[attacks:])
    mean = whole - costly + costly * len(seeds) / len(preset.seeds)
    figures = {"training, s": training, "evaluation, s": whole - costly, "costly checks and corruptions, s": costly}
    what = f"{about.get('arm')} seed {about.get('seed')} of {preset.name}: {_OVER_TRAINING}"
    yield make_line(_EVALUATION, what, [mean / training], figures, target=_LIMIT)

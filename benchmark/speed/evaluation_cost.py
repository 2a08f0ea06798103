"""The seconds of a run's evaluation over those of plain training, on one machine in one run."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmark.data.load import data_roots, load_data
from benchmark.evaluation.evaluate import evaluate
from benchmark.evaluation.external_models import load_weights, network
from benchmark.evaluation.journal import Journal
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan
from benchmark.settings.preset import Preset
from benchmark.speed.lines import Line, Target, make_line
from benchmark.training.loop import train_epoch
from benchmark.training.state import start
from benchmark.training.surrogate import train_surrogate

WHAT = "evaluation over training with the standard augmentation, a run's mean over the seeds of its study"
PART, LIMIT = "evaluation", Target(0.6, at_least=False)
PLAIN = "standard"  # the arm that evaluation is measured against


def evaluation_lines(device: torch.device, checkpoint: Path | None, data_root: Path | None) -> Iterator[Line]:
    """Yield the line of evaluation over training; without the checkpoint of a study's network nothing is measured.

    One epoch is trained, and the network evaluated once at a checked seed. The costly checks count with the share of
    the study's seeds that are checked.

    Args:
        device: where it runs.
        checkpoint: of a run whose preset the package has and has an arm `standard`.
        data_root: where the checkpoint's data is looked for first.

    Raises:
        UsageError, DataError: see `load_weights` and `load_data`; the preset has no arm `standard`.
    """
    if checkpoint is None:
        yield make_line(PART, WHAT, [], {}, target=LIMIT)
        return
    weights, told = load_weights(checkpoint)
    preset = load_preset(str(told.get("preset", "")))
    if PLAIN not in preset.arms:
        raise UsageError(f"preset {preset.name} has no arm {PLAIN!r}, over whose training evaluation is measured.")
    seeds = [seed for seed in preset.seeds if preset.evaluation.is_checked(seed)]
    data = load_data(preset.data, data_roots(data_root)).to(device)
    run = make_plan(preset, [PLAIN], preset.seeds[:1])[0]
    state = start(run, data, device)
    training = train_epoch(run, state, data.train)["seconds"] * run.epochs
    model = network(preset, data, None, weights).to(device)
    journal, began = Journal(), time.perf_counter()
    surrogate = partial(train_surrogate, preset, data, device)
    evaluate(preset, seeds[0], model, data, surrogate, lambda _text, _share: None, journal)
    whole, costly = time.perf_counter() - began, costly_seconds(preset, journal)
    mean = whole - costly + costly * len(seeds) / len(preset.seeds)
    figures = {"training, s": training, "evaluation, s": whole - costly, "costly checks and corruptions, s": costly}
    what = f"{told.get('arm')} seed {told.get('seed')} of {preset.name}: {WHAT}"
    yield make_line(PART, what, [mean / training], figures, target=LIMIT)


def costly_seconds(preset: Preset, journal: Journal) -> float:
    """Return the seconds of everything that only checked seeds have: all parts of an evaluation but its attacks."""
    attacks = len(preset.evaluation.eps) * len(preset.evaluation.attacks)
    attacks += len(preset.evaluation.l2_eps) * len(preset.evaluation.l2_attacks)
    return float(sum(part["seconds"] for part in list(journal.parts.values())[attacks:]))

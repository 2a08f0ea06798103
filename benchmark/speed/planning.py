"""What a thousand runs of ImageNet take on 64 devices: computed for docs/cluster.md from figures of one device.

`python -m benchmark.speed.planning` renews the page's tables; with `--measure DEVICE` it measures that device first.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from benchmark.report.tables import Table
from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import write_whole
from benchmark.settings.load import load_preset
from benchmark.speed.estimates import attack_samples

PAGE, MEASURED = Path("docs/cluster.md"), Path("docs/measured.json")
BEGIN, END = (
    "<!-- Computed by `python -m benchmark.speed.planning`, do not edit. -->",
    "<!-- End of what is computed. -->",
)
SMALL, LARGE = "cifar10_jpeg_cpu", "cifar10_gpu"  # presets with the suites of attacks that are planned with
HOUR, DAY, YEAR = 3600.0, 86_400.0, 365.25 * 86_400
# Of torchvision's resnet50 with 1,000 classes; buffers are BatchNorm's means, variances and counters of steps.
PARAMETERS, BUFFER_BYTES = 25_557_032, 4 * 53_120 + 8 * 53


class Measured(TypedDict):
    """Figures of one device: images/s of training by method, of evaluating, and gradient samples/s in float32."""

    device: str
    device_type: str
    threads: str
    torch: str
    date: str
    batch: int
    steps: int
    note: str
    train: dict[str, float]
    evaluate: float
    attack: float


@dataclass(frozen=True)
class Plan:
    """The study that is planned, and what is assumed of the cluster.

    Attributes:
        arms: arms of each method, all with `seeds` seeds: ERM with and without augmentation, mixup, SBA likewise.
        node_mtbf: hours between two failures of a node. 419 unexpected interruptions in 54 days on 16,384 GPUs (The
            Llama 3 Herd of Models, arXiv:2407.21783, section 3.3.4) are one in 6,335 h for each 8 GPUs.
        lease: seconds until a dead worker's lock is taken over.
    """

    arms: tuple[tuple[str, int], ...] = (("erm", 2), ("mixup", 1), ("sba", 2))
    seeds: int = 200
    devices: int = 64
    devices_per_node: int = 8
    epochs: int = 90
    train_images: int = 1_281_167
    test_images: int = 50_000
    batch: int = 256
    checkpoint_steps: int = 500
    node_mtbf: float = 54 * 24 * 16_384 / 419 / 8
    lease: float = 60.0

    @property
    def runs(self) -> int:
        """Number of runs."""
        return self.seeds * sum(number for _, number in self.arms)


def run_seconds(plan: Plan, measured: Measured, method: str) -> tuple[float, float]:
    """Return the seconds of a run's (training, evaluation).

    Evaluation is the test images after each epoch, an epoch of plain training for the surrogate whose adversarial
    images are transferred, and the attacks and checks, at most: as if no attack fooled any image.
    """
    clean = plan.epochs * plan.test_images / measured["evaluate"] + plan.train_images / measured["train"]["erm"]
    attacks = attack_samples(load_preset(SMALL)) / measured["attack"]
    return plan.epochs * plan.train_images / measured["train"][method], clean + attacks


def study_seconds(plan: Plan, measured: Measured) -> float:
    """Return the seconds of the whole study, on all devices at a time."""
    one = sum(number * sum(run_seconds(plan, measured, method)) for method, number in plan.arms)
    return plan.seeds * one / plan.devices


def checkpoint_bytes(plan: Plan) -> int:
    """Return the bytes of a checkpoint within an epoch: weights and momentum, BatchNorm, order of images and losses."""
    return 8 * PARAMETERS + BUFFER_BYTES + 8 * plan.train_images + 4 * (plan.train_images // plan.batch)


def record_bytes(plan: Plan) -> int:
    """Return the bytes of a record, about: all of results/cifar10_jpeg_cpu/sba/seed-1.json but its epochs and its
    outcomes of clean images, then a line each epoch and a bit each test image in base64.
    """
    return 15_800 + 156 * plan.epochs + plan.test_images // 6


def failures(plan: Plan, measured: Measured) -> tuple[float, float]:
    """Return (failures of nodes to expect, device seconds lost to each).

    Expected are nodes * time / MTBF. A failure costs, on each of the node's devices, half of the training between two
    checkpoints and the lease: d * (b * n / (2 r) + lease), b the batch, n the steps, r the slowest method's images/s.
    """
    nodes = plan.devices / plan.devices_per_node
    slowest = min(measured["train"].values())
    lost = plan.batch * plan.checkpoint_steps / (2 * slowest) + plan.lease
    return nodes * study_seconds(plan, measured) / (plan.node_mtbf * HOUR), plan.devices_per_node * lost


def span(seconds: float) -> str:
    """Write a time in minutes, hours, days or years, whichever is readable."""
    units = ((YEAR, "years"), (2 * DAY, "days"), (HOUR, "h"), (60.0, "min"))
    least, unit = next(((least, unit) for least, unit in units if seconds >= least), units[-1])
    return f"{seconds / (DAY if unit == 'days' else least):,.1f} {unit}"


def size(count: float) -> str:
    """Write a number of bytes in kB, MB, GB or TB."""
    least, unit = next(((10.0**p, u) for p, u in ((12, "TB"), (9, "GB"), (6, "MB")) if count >= 10**p), (1e3, "kB"))
    return f"{count / least:,.1f} {unit}"


def computed(plan: Plan, devices: Sequence[Measured]) -> str:
    """Return what follows of times, failures and storage, as Markdown."""
    return "\n\n".join([times(plan, devices), remarks(plan, devices), failure_table(plan, devices), storage(plan)])


def named(measured: Measured) -> str:
    """Name a device with what its figures hold for."""
    note = f"; {measured['note']}" if measured["note"] else ""
    return (
        f"{measured['device']}, threads: {measured['threads']} (torch {measured['torch']}, batch {measured['batch']}, "
        f"{measured['steps']} steps, {measured['date']}{note})"
    )


def columns(devices: Sequence[Measured]) -> list[str]:
    """Return the headers of a table with a column for each device."""
    return ["", *(f"device {number}" for number, _ in enumerate(devices, start=1))]


def times(plan: Plan, devices: Sequence[Measured]) -> str:
    """Return the table of what was measured and of the times that follow; with an empty column until there is a GPU."""
    methods = [method for method, _ in plan.arms]
    rows = [[f"training, `{name}`, images/s", *(f"{it['train'][name]:,.2f}" for it in devices)] for name in methods]
    rows.append(["evaluating, images/s", *(f"{it['evaluate']:,.2f}" for it in devices)])
    rows.append(["attacks, gradient samples/s", *(f"{it['attack']:,.2f}" for it in devices)])
    for name in methods:
        rows.append([f"a run of `{name}`: training", *(span(run_seconds(plan, it, name)[0]) for it in devices)])
    rows.append(["a run: evaluation, at most", *(span(run_seconds(plan, it, methods[0])[1]) for it in devices)])
    study = (f"**{span(study_seconds(plan, it))}**" for it in devices)
    rows.append([f"**{plan.runs:,} runs on {plan.devices}**", *study])
    if any(it["device_type"] == "cuda" for it in devices):
        return str(Table(columns(devices), rows))
    return str(Table([*columns(devices), "a GPU"], [[*cells, "not measured"] for cells in rows]))


def remarks(plan: Plan, devices: Sequence[Measured]) -> str:
    """Say which devices the columns are, and what their figures cannot tell."""
    lines = [f"- Device {number}: {named(it)}." for number, it in enumerate(devices, start=1)]
    for number, it in enumerate(devices, start=1):
        if it["device_type"] == "cpu":
            time = span(study_seconds(plan, it))
            lines.append(
                f"- {time} on {plan.devices} of device {number} is absurd: a CPU's figures only show the calculation."
            )
    if not any(it["device_type"] == "cuda" for it in devices):
        lines.append(
            "- No GPU is measured. `python -m benchmark.speed.planning --measure cuda`, on one, fills its column in."
        )
    small, large = (attack_samples(load_preset(name)) for name in (SMALL, LARGE))
    lines.append(
        f"- Attacks: the suite of the preset `{SMALL}`, at most {small:,.0f} gradient samples a run. That "
        f"of `{LARGE}` is at most {large:,.0f}, {large / (plan.epochs * plan.train_images):.1f} times the "
        "images of the training: on ImageNet it would decide over the time."
    )
    return "\n".join(lines)


def failure_table(plan: Plan, devices: Sequence[Measured]) -> str:
    """Return the table of failures, a column for each device."""
    found = [(*failures(plan, it), study_seconds(plan, it) * plan.devices) for it in devices]
    rows = [
        ["failures of nodes to expect", *(f"{expected:,.1f}" for expected, _, _ in found)],
        ["device time lost to each", *(span(lost) for _, lost, _ in found)],
        ["share of the study's device time", *(f"{expected * lost / whole:.3%}" for expected, lost, whole in found)],
    ]
    return str(Table(columns(devices), rows))


def storage(plan: Plan) -> str:
    """Return the table of what is stored; it depends on no device."""
    state, record, log = checkpoint_bytes(plan), record_bytes(plan), 107 * plan.epochs
    written = plan.epochs * (plan.train_images // plan.batch // plan.checkpoint_steps + 1)
    rows = [
        ["a checkpoint within an epoch", size(state)],
        [f"{plan.devices} runs going on, two checkpoints each", size(2 * plan.devices * state)],
        [f"{plan.runs:,} finished runs, the last checkpoint each", size(plan.runs * (state - 8 * plan.train_images))],
        [f"{plan.runs:,} records of {size(record)}", size(plan.runs * record)],
        [f"{plan.runs:,} logs of {size(log)}", size(plan.runs * log)],
        [f"written by a run in {written:,} checkpoints", size(written * state)],
    ]
    return str(Table(["what", "size"], rows))


def renew(page: Path, measured: Path) -> None:
    """Write the tables that follow from the measured figures into the page, between its markers."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    text = f"{before}{BEGIN}\n\n{computed(Plan(), read(measured))}\n\n{END}{after}"
    write_whole(page, lambda file: file.write(text.encode()))


def read(measured: Path) -> list[Measured]:
    """Read the figures of all devices measured so far."""
    return cast("list[Measured]", json.loads(measured.read_text(encoding="utf-8")))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure if asked to, then renew the page; in the root of a checkout.

    Raises:
        UsageError: this is somewhere else, or there is no such device.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmark.speed.planning", description=__doc__)
    parser.add_argument(
        "--measure", metavar="DEVICE", help="first measure cpu or cuda, and add it to docs/measured.json"
    )
    parser.add_argument("--note", default="", help="what else is to be known of the machine while it is measured")
    options = parser.parse_args(arguments)
    if not PAGE.is_file():
        raise UsageError(f"{PAGE} is not here. Start this in the root of a checkout of the project.")
    if options.measure:
        from benchmark.speed.resnet50_speed import measure  # it imports this module

        found = [*read(MEASURED), measure(options.measure, options.note)]
        write_whole(MEASURED, lambda file: file.write(f"{json.dumps(found, indent=1)}\n".encode()))
    renew(PAGE, MEASURED)


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(f"error: {error}")

"""What is asked of a GPU: the seconds of an epoch, no waiting inside it, what limits it, several jobs at a time."""

import functools
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median

import torch

from benchmark.data.images import Images, Split
from benchmark.records.store import read_study
from benchmark.runtime.environment import device_name
from benchmark.settings.load import load_preset
from benchmark.settings.methods import METHODS
from benchmark.settings.plan import Run
from benchmark.speed.gpu_jobs import jobs_lines
from benchmark.speed.kernels import kernel_seconds, limiting, shares
from benchmark.speed.lines import Line, Target, make_line
from benchmark.speed.throughput import as_data, random_images, run_of, studies, timed
from benchmark.training.compile import compiles, warm_up
from benchmark.training.loop import OnStep, train_epoch
from benchmark.training.state import State, start

IMAGES, EPOCHS, PROFILED = 50_000, 3, 50  # of the data set; measured; steps of the profile
GOAL, GOAL_GPUS = 2.0, ("H100", "H200")  # seconds of an epoch, and the GPUs that they are meant for
STUDIES = ("cifar10_gpu", "cifar10_30_epochs_gpu")
AT_MOST, ALL = Target(1.0, at_least=False), Target(1.0, at_least=True)
EPOCH, WAITING, PROFILE, RECIPE = "epoch on a GPU", "waiting for the GPU", "profile", "recipe of 30 epochs"
NEVER = "methods whose epoch never waits, over all"
RECORDS, ARM = Path("runs/recipe/results"), "standard"  # as the preset of 30 epochs says how to make them
POINTS = 0.7  # of accuracy that the short recipe may lose


def gpu_lines(device: torch.device) -> Iterator[Line]:
    """Yield the lines of a GPU; without one, what would be judged there."""
    if device.type != "cuda":
        for name in STUDIES:
            yield make_line(EPOCH, f"{name}, {IMAGES:,} images, over {GOAL} s", [], {}, target=AT_MOST, here=False)
        yield make_line(WAITING, NEVER, [], {}, target=ALL, here=False)
        yield recipe_line()
        return
    for name in reversed(STUDIES):  # the short recipe first, should time run out
        yield from epoch_lines(name, device)
    yield waiting_line(device)
    yield from jobs_lines(device)
    yield recipe_line()


def epoch_lines(name: str, device: torch.device) -> Iterator[Line]:
    """Yield what an epoch of plain training takes and where its time goes."""
    run = run_of(load_preset(name, ("recipe.epochs=1000000",)), "erm")
    batch, train = run.preset.recipe.batch_size, random_images(IMAGES, device)
    state, compiling = ready(run, train, device)
    epoch = functools.partial(train_epoch, run, state, train)
    epoch()
    torch.cuda.reset_peak_memory_stats(device)
    seconds = [timed(epoch, device) for _ in range(EPOCHS)]
    peak, whole = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    here = any(gpu in device_name(device) for gpu in GOAL_GPUS)
    figures = {"epoch, s": median(seconds), "compilation before it, s": compiling, "batch": float(batch)}
    what = f"{name}, {IMAGES:,} images, over {GOAL} s"
    yield make_line(EPOCH, what, [spent / GOAL for spent in seconds], figures, target=AT_MOST, here=here)
    yield make_line("memory", f"{name}, peak of an epoch, over the GPU's", [peak / whole], {"peak, MB": peak / 1e6})
    yield from profile_lines(run, state, device)


def recipe_line(records: Path = RECORDS) -> Line:
    """Return how many points the short recipe loses, over those that it may; of the records that are in the folder."""
    accuracies = [
        [
            100 * record["last_epoch"]["accuracy"]
            for record in read_study(records, name)
            if record["arm"] == ARM and record["last_epoch"]
        ]
        for name in STUDIES
    ]
    figures = {f"{name}, %": mean(of_seeds) for name, of_seeds in zip(STUDIES, accuracies, strict=True) if of_seeds}
    figures |= {f"{name}, seeds": float(len(seeds)) for name, seeds in zip(STUDIES, accuracies, strict=True) if seeds}
    lost = [(mean(accuracies[0]) - mean(accuracies[1])) / POINTS] if all(accuracies) else []
    what = f"{ARM}: accuracy of {STUDIES[0]} minus that of {STUDIES[1]}, over {POINTS} points"
    return make_line(RECIPE, what, lost, figures, target=AT_MOST)


def ready(run: Run, train: Split, device: torch.device) -> tuple[State, float]:
    """Return a run's state before its first step, and the seconds that compilation took."""
    state = start(run, as_data(train), device)
    return state, warm_up(run, state, train) if compiles(run.preset.recipe, device) else 0.0


def profile_lines(run: Run, state: State, device: torch.device) -> Iterator[Line]:
    """Yield the shares of some steps' time by kind of work, and the resource that limits them."""
    train = random_images(PROFILED * run.preset.recipe.batch_size, device)
    steps = functools.partial(train_epoch, run, state, train)
    steps()
    wall = timed(steps, device)
    seconds = kernel_seconds(steps, device)
    found, name = shares(seconds, wall), run.preset.name
    for kind, share in found.items():
        figures = {"of a step, ms": 1000 * share * wall / PROFILED}
        yield make_line(PROFILE, f"{name}, {kind}, share of {PROFILED} steps", [share], figures)
    longest = sorted(seconds.items(), key=lambda item: -item[1])[:5]
    figures = {f"{rank}: {kernel[:60]}, share": spent / wall for rank, (kernel, spent) in enumerate(longest, 1)}
    yield make_line(PROFILE, f"{name} is limited by {limiting(found)}", [], figures)


def waiting_line(device: torch.device) -> Line:
    """Return the share of methods whose epoch never makes the host wait for the GPU between its first and last step.

    Not compiled: what is launched in place of single operations waits no more than they do.
    """
    preset, waited = studies(device)[1], list[str]()
    preset = preset.model_copy(update={"recipe": preset.recipe.model_copy(update={"compile": False})})
    for method in METHODS:
        run = run_of(preset, method)
        train = random_images(8 * run.preset.recipe.batch_size, device)
        state, _ = ready(run, train, device)
        train_epoch(run, state, train)
        try:
            epoch_without_waiting(run, state, train, device)
        except RuntimeError as error:
            if "synchronizing" not in str(error):
                raise
            waited.append(method)
    methods = len(METHODS)
    figures = {"methods": float(methods), **{f"{method} waits": 1.0 for method in waited}}
    return make_line(WAITING, NEVER, [1 - len(waited) / methods], figures, target=ALL)


def epoch_without_waiting(run: Run, state: State, train: Images, device: torch.device) -> None:
    """Train an epoch in which torch refuses every operation that waits for the GPU, except before and after all steps.

    Raises:
        RuntimeError: "called a synchronizing CUDA operation".
    """
    last = len(train.labels) // run.preset.recipe.batch_size

    def guard(done: int) -> None:
        torch.cuda.set_sync_debug_mode("error" if done < last else "default")

    with torch.cuda.device(device):
        try:
            train_epoch(run, state, train, [OnStep(guard)])
        finally:
            torch.cuda.set_sync_debug_mode("default")

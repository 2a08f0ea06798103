"""The speed of a GPU: seconds of an epoch, synchronizations within it, its kernels, several trainings at a time."""

import functools
import multiprocessing
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from threading import Barrier

import torch
from torch.profiler import ProfilerActivity, profile

from benchmark.data.images import Images
from benchmark.records.store import read_study
from benchmark.runtime.environment import choose_device, device_name
from benchmark.settings.load import load_preset
from benchmark.settings.methods import METHODS
from benchmark.settings.plan import Run
from benchmark.settings.preset import Preset
from benchmark.speed.lines import Line, Target, make_line
from benchmark.speed.throughput import begin, random_images, run_of, studies, timed
from benchmark.training.loop import OnStep, train_epoch
from benchmark.training.state import State

_IMAGES, _EPOCHS, PROFILED = 50_000, 3, 50  # of the data set; measured; steps of the profile
_GOAL, _GOAL_GPUS = 2.0, ("H100", "H200")  # seconds of an epoch, and the GPUs that the target applies to
_STUDIES = ("cifar10_gpu", "cifar10_30_epochs_gpu")
_AT_MOST, _ALL = Target(1.0, at_least=False), Target(1.0, at_least=True)
_EPOCH, _WAITING, _PROFILE, _RECIPE = "epoch on a GPU", "waiting for the GPU", "profile", "recipe of 30 epochs"
_NEVER = "methods whose epoch never waits, over all"
_RECORDS, _ARM = Path("runs/recipe/results"), "standard"  # the folder that the preset of 30 epochs names
_POINTS = 0.7  # of accuracy that the short recipe may lose
# Searched in this order: names of fused kernels list the fused operations, and cuDNN contains BatchNorm, too.
KINDS = {
    "optimizer": r"multi_tensor_apply|fused_?sgd|optimizer\.step|_foreach_",
    "elementwise": r"^triton_(poi|red|per|for)|bn_|batch_?norm|nchwToNhwc|nhwcToNchw|memcpy|memset|elementwise"
    r"|(?<!splitk)reduce",
    "convolution": r"conv|gemm|xmma|cutlass|winograd|fprop|dgrad|wgrad|nvjet|^triton_(tem|mm)|splitk|addmm|::mm$",
}
_OTHERS = "elementwise"  # kernels of other names read and write memory
_IDLE = "idle"
_LIMITS = {
    "convolution": "arithmetic (convolutions and matrix products)",
    "elementwise": "memory bandwidth (elementwise operations, BatchNorm, reductions, copies)",
    "optimizer": "memory bandwidth (the optimizer's step)",
    _IDLE: "the host (the GPU waits for kernels to be launched)",
}
_JOBS, SECONDS, STEPS, _PATIENCE = (4, 16), 5.0, 64, 300.0  # _PATIENCE: seconds until all processes are warm
_barrier: Barrier | None = None  # shared by the processes of a pool


def gpu_lines(device: torch.device) -> Iterator[Line]:
    """Yield the lines of a GPU; on a CPU, the lines with a target, unjudged."""
    if device.type != "cuda":
        for name in _STUDIES:
            yield make_line(_EPOCH, f"{name}, {_IMAGES:,} images, over {_GOAL} s", [], {}, target=_AT_MOST)
        yield make_line(_WAITING, _NEVER, [], {}, target=_ALL)
        yield recipe_line()
        return
    for name in reversed(_STUDIES):  # the short recipe first, should time run out
        yield from _epoch_lines(name, device)
    yield waiting_line(device)
    yield from jobs_lines(device)
    yield recipe_line()


def _epoch_lines(name: str, device: torch.device) -> Iterator[Line]:
    """Yield the time and memory of an epoch of plain training, and its profile."""
    run = run_of(load_preset(name, ("recipe.epochs=1000000",)), "erm")
    batch, train = run.preset.recipe.batch_size, random_images(_IMAGES, device)
    state, compiling = begin(run, train, device)
    epoch = functools.partial(train_epoch, run, state, train)
    epoch()
    torch.cuda.reset_peak_memory_stats(device)
    seconds = [timed(epoch, device) for _ in range(_EPOCHS)]
    peak, whole = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    here = any(gpu in device_name(device) for gpu in _GOAL_GPUS)
    figures = {"epoch, s": median(seconds), "compilation before it, s": compiling, "batch": float(batch)}
    what = f"{name}, {_IMAGES:,} images, over {_GOAL} s"
    yield make_line(_EPOCH, what, [spent / _GOAL for spent in seconds], figures, target=_AT_MOST, here=here)
    yield make_line("memory", f"{name}, peak of an epoch, over the GPU's", [peak / whole], {"peak, MB": peak / 1e6})
    yield from profile_lines(run, state, device)


def recipe_line(records: Path = _RECORDS) -> Line:
    """Return the points that the short recipe loses over those that it may lose, from the records in a folder."""
    means, seeds = dict[str, float](), dict[str, float]()
    for name in _STUDIES:
        ends = [record["last_epoch"] for record in read_study(records, name) if record["arm"] == _ARM]
        if accuracies := [100 * end["accuracy"] for end in ends if end]:
            means[f"{name}, %"], seeds[f"{name}, seeds"] = mean(accuracies), float(len(accuracies))
    lost = [(first - second) / _POINTS for first, second in pairwise(means.values())]
    what = f"{_ARM}: accuracy of {_STUDIES[0]} minus that of {_STUDIES[1]}, over {_POINTS} points"
    return make_line(_RECIPE, what, lost, means | seeds, target=_AT_MOST)


# Profile.


def profile_lines(run: Run, state: State, device: torch.device) -> Iterator[Line]:
    """Yield the shares of some steps' time by kind of work, and the resource that limits them."""
    train = random_images(PROFILED * run.preset.recipe.batch_size, device)
    steps = functools.partial(train_epoch, run, state, train)
    steps()
    wall = timed(steps, device)
    seconds = kernel_seconds(steps, device)
    found, name = shares(seconds, wall), run.preset.name
    for work, share in found.items():
        figures = {"of a step, ms": 1000 * share * wall / PROFILED}
        yield make_line(_PROFILE, f"{name}, {work}, share of {PROFILED} steps", [share], figures)
    longest = sorted(seconds.items(), key=lambda item: -item[1])[:5]
    figures = {f"{rank}: {kernel[:60]}, share": spent / wall for rank, (kernel, spent) in enumerate(longest, 1)}
    yield make_line(_PROFILE, f"{name} is limited by {limiting(found)}", [], figures)


def kernel_seconds(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Profile `work`; return the seconds of each kernel of the GPU or, on a CPU, of each operator without its callees.

    Keys are names of kernels or operators.
    """
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiled:
        work()
        if cuda:
            torch.cuda.synchronize(device)
    if cuda:  # user annotations are on the device's timeline, too, and would count twice
        kernels = [e for e in profiled.key_averages() if e.device_type.name == "CUDA" and not e.is_user_annotation]
        return {str(event.key): event.self_device_time_total / 1e6 for event in kernels}
    return {str(event.key): event.self_cpu_time_total / 1e6 for event in profiled.key_averages()}


def kind(kernel: str) -> str:
    """Return the kind of work of a kernel, a key of `KINDS`, by its name.

    Example:
        >>> kind("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64")
        'convolution'
        >>> kind("triton_poi_fused_convolution_native_batch_norm_relu_3")
        'elementwise'
    """
    return next((name for name, pattern in KINDS.items() if re.search(pattern, kernel, re.IGNORECASE)), _OTHERS)


def shares(seconds: Mapping[str, float], wall: float) -> dict[str, float]:
    """Return each kind's share of the time, and the idle share; they add up to 1.

    `seconds` are those of each kernel, `wall` those of the same work without the profiler, which slows down the host
    but not the kernels; nothing is idle where the kernels take longer.
    """
    sums = dict.fromkeys((*KINDS, _IDLE), 0.0)
    for kernel, spent in seconds.items():
        sums[kind(kernel)] += spent
    whole = max(wall, sum(sums.values()))
    sums[_IDLE] = whole - sum(sums.values())
    return {name: spent / whole for name, spent in sums.items()}


def limiting(found: Mapping[str, float]) -> str:
    """Return the resource behind the largest of the `shares`."""
    return _LIMITS[max(found, key=lambda name: found[name])]


# Synchronizations.


def waiting_line(device: torch.device) -> Line:
    """Return the share of methods whose epoch never synchronizes with the GPU between its first and last step.

    The network is not compiled: compiled code synchronizes no more than the operations that it replaces.
    """
    preset, waited = studies(device)[1], list[str]()
    preset = preset.model_copy(update={"recipe": preset.recipe.model_copy(update={"compile": False})})
    for method in METHODS:
        run = run_of(preset, method)
        train = random_images(8 * run.preset.recipe.batch_size, device)
        state, _ = begin(run, train, device)
        train_epoch(run, state, train)
        try:
            epoch_without_waiting(run, state, train, device)
        except RuntimeError as error:
            if "synchronizing" not in str(error):
                raise
            waited.append(method)
    methods = len(METHODS)
    figures = {"methods": float(methods), **{f"{method} waits": 1.0 for method in waited}}
    return make_line(_WAITING, _NEVER, [1 - len(waited) / methods], figures, target=_ALL)


def epoch_without_waiting(run: Run, state: State, train: Images, device: torch.device) -> None:
    """Train an epoch in which torch refuses every synchronization, except before the first and after the last step.

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


# Several trainings on one device.


def jobs_lines(device: torch.device) -> Iterator[Line]:
    """Yield the images/s of N processes that train the small network on one device, over those of one."""
    alone = rate_of(1, device)
    for jobs in _JOBS:
        rate = rate_of(jobs, device)
        figures = {"all, images/s": rate, "one, images/s": alone}
        yield make_line("--jobs", f"fast, {jobs} processes over one", [rate / alone], figures)


def rate_of(jobs: int, device: torch.device) -> float:
    """Return the sum of images/s of N processes that start at the same time.

    Raises:
        BrokenBarrierError, BrokenProcessPool: one of them failed before it was warm.
    """
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    barrier, small = context.Barrier(jobs), studies(device)[0]
    with ProcessPoolExecutor(jobs, context, _set_barrier, (barrier,)) as pool:
        return sum(pool.map(_train, [small] * jobs, [str(device)] * jobs, [SECONDS] * jobs, [STEPS] * jobs))


def _set_barrier(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _train(preset: Preset, name: str, least: float, steps: int) -> float:
    """Train a preset for at least `least` seconds in epochs of `steps` steps on a device; return images/s."""
    device = choose_device(name)
    run = run_of(preset, "erm")
    batch = preset.recipe.batch_size
    train = random_images(batch * steps, device)
    state, _ = begin(run, train, device)
    train_epoch(run, state, train)
    assert _barrier is not None
    _barrier.wait(_PATIENCE)
    began, images = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < least:
        train_epoch(run, state, train)  # its end waits for the device
        images += batch * steps
    return images / spent

"""The command `doctor`: versions, devices, data, disk and estimated times; a failure is reported in its own line."""

# Other imports are local: a package that does not load must cost one line, not the command.
import argparse
import os
import platform
import shutil
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from benchmark.data.catalogue import DATASETS
from benchmark.runtime.errors import shorten
from benchmark.runtime.files import cache_folder, is_folder

PACKAGES = ("torch", "torchvision", "torchattacks", "numpy", "scipy")


def main(options: argparse.Namespace) -> None:
    """Print versions, devices, data, disk, operators, and each preset's estimated time on this machine."""
    data_root = options.data_root
    lines: dict[str, Callable[[], str]] = {
        "python": platform.python_version,
        **{package: partial(version, package) for package in PACKAGES},
        "sba-benchmark": _own_version,
        "commit": _commit,
        "devices": _devices,
        "torchvision's operators": operators,
        "tensorboard": partial(optional, "tensorboard", "--tensorboard"),
        "ray": partial(optional, "ray", "--launcher ray"),
        "data roots": partial(_roots, data_root),
        **{f"data: {name}": partial(_data_set, name, row.folder, data_root) for name, row in DATASETS.items()},
        "disk: results": partial(_disk, lambda: Path("results")),
        "disk: runs": partial(_disk, lambda: Path("runs")),
        "disk: cache": partial(_disk, cache_folder),
    }
    width = max(map(len, lines))
    for name, find in lines.items():
        print(f"{name:<{width}}  {_or_reason(find)}", flush=True)  # some take seconds, and the times minutes
    for find in (_determinism, _times):
        print(f"\n{_or_reason(find)}", flush=True)


def _or_reason(find: Callable[[], str]) -> str:
    """Return the result of a function, or the reason of its failure."""
    try:
        return find()
    except Exception as error:  # any failure here is what the user looks for
        return f"unknown ({type(error).__name__}: {shorten(' '.join(str(error).split()), 300)})"


def _own_version() -> str:
    try:
        return version("sba-benchmark")
    except PackageNotFoundError:
        return "not installed; it runs from its folder"


def _commit() -> str:
    from benchmark.runtime.environment import git_commit

    return git_commit()


def _devices() -> str:
    """Return the names of all devices, the threads, and the device that `run` takes."""
    import torch

    from benchmark.runtime.environment import choose_device, device_name

    cuda = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    names = [f"{device}: {device_name(device)}" for device in [*cuda, torch.device("cpu")]]
    return f"{', '.join(names)}; {torch.get_num_threads()} threads; a run takes {choose_device('auto').type}"


def operators() -> str:
    """Return whether torchvision's compiled operators load; the benchmark needs none of them."""
    from benchmark.runtime.torchvision import ensure_importable

    reason = ensure_importable()
    return f"do not load, and are not needed ({shorten(reason)})" if reason else "load"


def optional(package: str, option: str) -> str:
    """Return the version of a package that only `option` of `run` needs, if it is installed."""
    return version(package) if find_spec(package) else f"not installed; only {option} needs it"


def _roots(data_root: Path | None) -> str:
    from benchmark.data.load import data_roots

    return ", ".join(str(root.absolute()) for root in data_roots(data_root))


def _data_set(name: str, folder: str, data_root: Path | None) -> str:
    """Return the folder of a data set; nothing is downloaded or verified."""
    if not folder:
        return "comes with a dependency"
    from benchmark.data.cifar import CIFAR10, CIFAR100, image_folder_in
    from benchmark.data.load import data_roots

    searched = data_roots(data_root)
    cifar = next((kind for kind in (CIFAR10, CIFAR100) if kind.name == name), None)
    pngs = filter(None, (image_folder_in(root, cifar) for root in searched)) if cifar else ()
    found = next((place for place in (*(root / folder for root in searched), *pngs) if is_folder(place)), None)
    other = f" nor {name}-png" if cifar else ""
    return f"found: {found.absolute()}" if found else f"not found: no {folder}{other} below any data root"


def _disk(place: Callable[[], Path]) -> str:
    """Return the free space in GB of the file system of a folder, which need not exist."""
    folder = place().absolute()
    there = next(parent for parent in (folder, *folder.parents) if is_folder(parent))
    closed = "" if os.access(there, os.W_OK) else ", and it cannot be written"
    return f"{shutil.disk_usage(there).free / 1e9:,.1f} GB free for {folder}{closed}"


def _determinism() -> str:
    from benchmark.runtime.environment import DETERMINISTIC

    return DETERMINISTIC


def _times() -> str:
    from benchmark.runtime.environment import choose_device
    from benchmark.speed.estimates import estimates_table

    device = choose_device("auto")
    return (
        f"Time of all runs of each preset on {device}: an estimate from a few passes of small batches, timed just\n"
        "now; too long on a busy machine. Training counts virtual samples as whole ones. The time of the attacks is\n"
        "an upper bound, as if they fooled no image; they usually take far less.\n\n"
        f"{estimates_table(device)}"
    )

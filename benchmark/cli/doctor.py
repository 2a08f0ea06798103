"""What this machine has of what the benchmark needs; what cannot be found out is said in its line."""

# Everything else is imported where it is used: a package that does not load must cost one line, not the command.
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
from benchmark.runtime.files import cache_folder

PACKAGES = ("torch", "torchvision", "torchattacks", "numpy", "scipy")


def doctor(data_root: Path | None) -> str:
    """Return what there is: versions, devices, data, disk, operators, and what each preset would take here.

    Args:
        data_root: where data is looked for first.
    """
    lines: dict[str, Callable[[], str]] = {
        "python": platform.python_version,
        **{package: partial(version, package) for package in PACKAGES},
        "sba-benchmark": own_version,
        "commit": commit,
        "devices": devices,
        "torchvision's operators": operators,
        "tensorboard": partial(optional, "tensorboard", "--tensorboard"),
        "ray": partial(optional, "ray", "--launcher ray"),
        "data roots": partial(roots, data_root),
        **{f"data: {name}": partial(data_set, name, row.folder, data_root) for name, row in DATASETS.items()},
        "disk: results": partial(disk, lambda: Path("results")),
        "disk: runs": partial(disk, lambda: Path("runs")),
        "disk: cache": partial(disk, cache_folder),
    }
    width = max(map(len, lines))
    found = [f"{name:<{width}}  {told(find)}" for name, find in lines.items()]
    return "\n".join([*found, "", told(determinism), "", told(times)])


def told(find: Callable[[], str]) -> str:
    """Return what a function finds, or why it cannot."""
    try:
        return find()
    except Exception as error:  # whatever is broken here is what the user wants to know
        return f"cannot be found out ({type(error).__name__}: {shorten(' '.join(str(error).split()), 300)})"


def own_version() -> str:
    """Return the version of this package."""
    try:
        return version("sba-benchmark")
    except PackageNotFoundError:
        return "not installed; it runs from its folder"


def commit() -> str:
    """Return the commit of the checkout that this code lies in, "+" appended where it is changed."""
    from benchmark.runtime.environment import git_commit

    return git_commit()


def devices() -> str:
    """Return the device that `run` takes, then every other one, and the threads."""
    import torch

    from benchmark.runtime.environment import choose_device, device_name

    cuda = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    names = [f"{device}: {device_name(device)}" for device in [*cuda, torch.device("cpu")]]
    return f"{', '.join(names)}; {torch.get_num_threads()} threads; a run takes {choose_device('auto').type}"


def operators() -> str:
    """Say whether torchvision's compiled operators load; the benchmark needs none of them."""
    from benchmark.runtime.torchvision import ensure_importable

    found = ensure_importable()
    return "load" if found.loaded else f"do not load, and are not needed ({shorten(found.reason)})"


def optional(package: str, option: str) -> str:
    """Return the version of a package that one option of `run` needs, if it is there."""
    return version(package) if find_spec(package) else f"not there; only {option} needs it"


def roots(data_root: Path | None) -> str:
    """Return the folders that data is looked for in, in order."""
    from benchmark.data.load import data_roots

    return ", ".join(str(root.absolute()) for root in data_roots(data_root))


def data_set(name: str, folder: str, data_root: Path | None) -> str:
    """Say under which data root a data set's folder lies; nothing is downloaded, nor are its files checked."""
    if not folder:
        return "comes with a dependency"
    from benchmark.data.cifar import CIFAR10, CIFAR100, image_folder_in
    from benchmark.data.load import data_roots

    searched = data_roots(data_root)
    cifar = next((kind for kind in (CIFAR10, CIFAR100) if kind.name == name), None)
    pngs = [image_folder_in(root, cifar) for root in searched] if cifar else []
    found = next((place for place in [*(root / folder for root in searched), *pngs] if place and place.is_dir()), None)
    other = f" nor {name}-png" if cifar else ""
    return f"found: {found.absolute()}" if found else f"not found: no {folder}{other} below any data root"


def disk(place: Callable[[], Path]) -> str:
    """Return what is free where a folder is or would be made, in GB."""
    folder = place().absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    closed = "" if os.access(there, os.W_OK) else ", and it cannot be written"
    return f"{shutil.disk_usage(there).free / 1e9:,.1f} GB free for {folder}{closed}"


def determinism() -> str:
    """Say what `run --deterministic` sets and does not promise."""
    from benchmark.runtime.environment import DETERMINISTIC

    return DETERMINISTIC


def times() -> str:
    """Return what each preset would take here, with what kind of number that is."""
    from benchmark.runtime.environment import choose_device
    from benchmark.speed.estimates import estimates_table

    device = choose_device("auto")
    return (
        f"What all runs of each preset would take on {device}: an estimate, from a few passes of small batches, timed\n"
        "just now; on a machine that is busy with something else it is too long. Training counts virtual samples as\n"
        "whole ones. The attacks' time is a bound, as if they fooled no image; they mostly take far less.\n\n"
        f"{estimates_table(device)}"
    )

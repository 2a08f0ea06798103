"""Names that presets use, each with where it is found and its source; a new method is one row here."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from benchmark.runtime.errors import UsageError, nearest, shorten


class Row(NamedTuple):
    """One name: the object "package.module:Name" it stands for and one line on its source."""

    target: str
    source: str


METHODS = {
    "erm": Row("baselines.erm:ERM", "empirical risk minimisation (plain cross-entropy)"),
    "mixup": Row("baselines.mixup:Mixup", "Zhang et al., ICLR 2018, arXiv:1710.09412"),
    "manifold_mixup": Row("baselines.manifold_mixup:ManifoldMixup", "Verma et al., ICML 2019, arXiv:1806.05236"),
    "cutmix": Row("baselines.cutmix:CutMix", "Yun et al., ICCV 2019, arXiv:1905.04899"),
    "label_smoothing": Row("baselines.label_smoothing:LabelSmoothing", "Szegedy et al., CVPR 2016, arXiv:1512.00567"),
    "batch_augmentation": Row(
        "baselines.batch_augmentation:BatchAugmentation", "Hoffer et al., CVPR 2020, arXiv:1901.09335"
    ),
    "stability": Row("baselines.stability:Stability", "Zheng et al., CVPR 2016, arXiv:1604.04326"),
    "adversarial": Row("baselines.adversarial:Adversarial", "Madry et al., ICLR 2018, arXiv:1706.06083 (PGD)"),
    "sba": Row("sba:SBA", "Li et al., IJCAI 2020, arXiv:2006.15284, as read from its abstracts"),
}
MODELS = {
    "small": Row("benchmark.networks.small:small_net", "three convolutions for 8x8 digits (ours)"),
    "fast": Row("benchmark.networks.fast:fast_net", "after airbench, arXiv:2404.00498, narrower"),
    "fast_conv": Row("benchmark.networks.fast:fast_conv_net", "`fast` with a learned 3x3 stem (ours)"),
    "preact_resnet18": Row(
        "benchmark.networks.preact_resnet18:preact_resnet18", "He et al., ECCV 2016, arXiv:1603.05027"
    ),
    "resnet50": Row("benchmark.networks.resnet50:resnet50", "He et al., CVPR 2016, arXiv:1512.03385 (torchvision's)"),
}
DATASETS = {
    "digits": Row("benchmark.data.datasets:digits", "UCI handwritten digits, 8x8, embedded in scikit-learn"),
    "cifar10": Row("benchmark.data.cifar:cifar10", "Krizhevsky 2009, official Python files or lossless image folder"),
    "cifar100": Row("benchmark.data.cifar:cifar100", "Krizhevsky 2009, official Python files or lossless image folder"),
    "cifar10_jpeg": Row(
        "benchmark.data.named_folders:cifar10_jpeg", "CIFAR-10 saved as JPEG (lossy; not CIFAR-10), image folder"
    ),
    "tiny_imagenet_100": Row(
        "benchmark.data.named_folders:tiny_imagenet_100", "first 100 classes of Tiny ImageNet, image folder"
    ),
    "imagenet": Row(
        "benchmark.data.named_folders:imagenet",
        "ImageNet (Russakovsky et al., IJCV 2015), image folder, never downloaded",
    ),
}
AUGMENTATIONS = {
    "none": Row("", "images as they are"),
    "standard": Row(
        "baselines.augment:crop_and_flip",
        "padded random crop and horizontal flip; random resized crop and flip of images that stay files",
    ),
}
ATTACKS = {
    "fgsm": Row("torchattacks:FGSM", "Goodfellow et al., ICLR 2015, arXiv:1412.6572"),
    "pgd": Row("torchattacks:PGD", "Madry et al., ICLR 2018, arXiv:1706.06083"),
    "apgd_ce": Row("torchattacks:APGD", "Croce and Hein, ICML 2020, arXiv:2003.01690, cross-entropy"),
    "apgd_dlr": Row("torchattacks:APGD", "Croce and Hein, ICML 2020, arXiv:2003.01690, scale-free DLR loss"),
    "apgd_t": Row("torchattacks:APGDT", "Croce and Hein, ICML 2020, arXiv:2003.01690, targeted DLR loss, 9 targets"),
    "fab_t": Row("torchattacks:FAB", "Croce and Hein, ICML 2020, arXiv:1907.02044, minimal perturbation, 9 targets"),
    "square": Row("torchattacks:Square", "Andriushchenko et al., ECCV 2020, arXiv:1912.00049, black box"),
}


def methods() -> dict[str, Row]:
    """Return every method: ours and those that installed packages declare under `sba_benchmark.methods`.

    Raises:
        UsageError: a package declares a name that is taken.
    """
    rows = dict(METHODS)
    for entry in entry_points(group="sba_benchmark.methods"):
        source = f"from package {entry.dist.name if entry.dist else '?'}"
        if entry.name in rows:
            taken = rows[entry.name].source
            raise UsageError(
                f"method {entry.name!r} {source} has the name of another ({taken}); rename its entry point or "
                "uninstall the package."
            )
        rows[entry.name] = Row(entry.value, source)
    return rows


def check(kind: str, name: str, rows: dict[str, Row], where: str) -> None:
    """Raise UsageError, with the nearest names, where `rows` lacks `name`; `where` is the setting's file and key."""
    if name not in rows:
        raise UsageError(f"{where} = {shorten(repr(name))}: there is no such {kind}; {nearest(name, rows)}")


def look_up(name: str, rows: dict[str, Row]) -> Any:
    """Import and return the object that a name stands for; `check` has found it in `rows`.

    Raises:
        UsageError: it cannot be imported, as may happen to a package that somebody else installed.
    """
    module, _, attribute = rows[name].target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"{name!r} ({rows[name].source}) cannot be imported from {rows[name].target}: {error}."
        ) from error

"""Methods that arms may name: ours, a row each, and those of installed packages."""

import functools
import sys
from importlib.metadata import EntryPoint, entry_points

from benchmark.runtime.errors import UsageError
from benchmark.settings.names import Row

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
    "sba_mixup": Row("baselines.sba_mixup:SBAMixup", "SBA on images that mixup or CutMix has mixed (ours)"),
}


def methods() -> dict[str, Row]:
    """Return every method: ours and those that installed packages declare under `sba_benchmark.methods`.

    Raises:
        UsageError: a package declares a name that is taken.
    """
    rows = dict(METHODS)
    for entry in declared(tuple(sys.path)):
        source = f"from package {entry.dist.name if entry.dist else '?'}"
        if entry.name in rows:
            taken = rows[entry.name].source
            raise UsageError(
                f"method {entry.name!r} {source} has the name of another ({taken}); rename its entry point or "
                "uninstall the package."
            )
        rows[entry.name] = Row(entry.value, source)
    return rows


@functools.cache
def declared(_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the methods of the packages on the import path, read once: that opens a file of every package."""
    return tuple(entry_points(group="sba_benchmark.methods"))

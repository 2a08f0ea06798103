"""SBA on mixed images: mixup or CutMix of the batch, then an SBA step with the mixed labels."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.cutmix import CutMix
from baselines.mixing import MOST_ALPHA
from baselines.mixup import Mixup
from sba import SBA, Step, ranges
from sba.activation import Forward
from sba.criterion import Criterion
from sba.processes import processes_of

Mixing = Literal["mixup", "cutmix"]


@dataclass(frozen=True)
class SBAMixup(SBA):
    """Loss of one SBA step on a batch that mixup or CutMix has mixed.

    x', y[perm] and lam are those of `Mixup` or `CutMix`; the loss is SBA's with x' in place of x and
    lam * CE(z, y) + (1 - lam) * CE(z, y[perm]) in place of CE(z, y), on virtual samples too. A step that is not
    augmented is one of mixup or CutMix.

    Args:
        mixing: "mixup" or "cutmix".
        mixing_alpha: parameter of the Beta distribution of lam, above 0.
        mixing_p: probability of a mixed batch, from 0 (SBA alone) to 1; mixup mixes every batch, with 1.

    All other settings are those of `SBA`; the soft label takes no class from the labels (`label_mix` is 0, `soft_label`
    "softmax"), as a mixed example has two.

    Raises:
        ValueError: a setting out of its range, or in conflict with another.

    Source: none for the combination (ours). Its parts: Li et al., IJCAI 2020, arXiv:2006.15284 (SBA, as read from its
    abstracts); Zhang et al., ICLR 2018, arXiv:1710.09412 (mixup); Yun et al., ICCV 2019, arXiv:1905.04899 (CutMix).
    """

    mixing: Mixing = "mixup"
    mixing_alpha: float = 1.0
    mixing_p: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        ranges.choice("mixing", self.mixing, get_args(Mixing))
        ranges.positive("mixing_alpha", self.mixing_alpha, most=MOST_ALPHA)
        ranges.share("mixing_p", self.mixing_p)
        if self.mixing == "mixup" and self.mixing_p < 1:
            raise ValueError(f"mixing_p must be 1 with mixing 'mixup', which mixes every batch, got {self.mixing_p!r}.")
        if self.label_mix:
            raise ValueError(f"label_mix must be 0 on mixed labels, got {self.label_mix!r}.")
        if self.soft_label != "softmax":
            raise ValueError(f"soft_label must be 'softmax' on mixed labels, got {self.soft_label!r}.")

    def __call__(
        self,
        model: nn.Module,
        inputs: Any,
        targets: Any,
        *,
        generator: torch.Generator,
        criterion: Criterion = F.cross_entropy,
        forward: Forward | None = None,
    ) -> Step:
        """Return the loss of one step; `logits` are those of the mixed images.

        Args:
            model: see `SBA`.
            inputs: (N, C, H, W) images.
            targets: (N,) class indices, or another tensor with N rows that the criterion takes.
            generator: CPU generator of the mixing's draws, then of SBA's.
            criterion: see `SBA`.
            forward: see `SBA`.

        Raises:
            ValueError: inputs or targets are not one tensor each; and see `SBA`.
        """
        if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
            raise ValueError("inputs and targets must be one tensor each, to be mixed.")
        mixing = Mixup(self.mixing_alpha) if self.mixing == "mixup" else CutMix(self.mixing_alpha, self.mixing_p)
        mixed = mixing.mix(inputs, targets, processes_of(model, inputs, generator), generator)
        step = partial(super().__call__, model, generator=generator, forward=forward)
        if mixed is None:
            return step(inputs, targets, criterion=criterion)
        return step(mixed.images, mixed.labels, criterion=partial(mixed.loss, criterion))

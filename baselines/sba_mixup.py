"""SBA on mixed images: mixup or CutMix of the batch, then an SBA step with the mixed labels."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from torch import Tensor

from baselines.cutmix import CutMix
from baselines.mixing import beta_parameter, mixed_loss
from baselines.mixup import Mixup
from sba import SBA, Step, ranges
from sba.call import Call
from sba.processes import processes_of


@dataclass(frozen=True)
class SBAMixup(SBA):
    """Loss of one SBA step on a batch that mixup or CutMix has mixed.

    x', y[perm] and lam are those of `Mixup` or `CutMix`; the loss is SBA's with x' in place of x and
    lam * CE(z, y) + (1 - lam) * CE(z, y[perm]) in place of CE(z, y), on virtual samples too, and the `logits` are
    those of x'. A step that is not augmented is one of mixup or CutMix. A call takes one tensor (N, C, H, W) of images
    and one of targets, and draws for the mixing, then for SBA.

    Args:
        mixing: "mixup" or "cutmix".
        mixing_alpha: parameter of the Beta distribution of lam, above 0.
        mixing_p: probability of a mixed batch, from 0 (SBA alone) to 1; mixup mixes every batch, with 1.

    All other settings are those of `SBA`; the soft label takes no class from the labels (`label_mix` is 0, `soft_label`
    "softmax"), as a mixed example has two.

    Raises:
        ValueError: a setting out of range, or in conflict with another.

    Source: none for the combination (ours). Its parts: Li et al., IJCAI 2020, arXiv:2006.15284 (SBA, as read from its
    abstracts); Zhang et al., ICLR 2018, arXiv:1710.09412 (mixup); Yun et al., ICCV 2019, arXiv:1905.04899 (CutMix).
    """

    mixing: Literal["mixup", "cutmix"] = "mixup"
    mixing_alpha: Annotated[float, beta_parameter] = 1.0
    mixing_p: Annotated[float, ranges.share] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixing == "mixup" and self.mixing_p < 1:
            raise ValueError(f"mixing_p must be 1 with mixing 'mixup', which mixes every batch, got {self.mixing_p!r}.")
        if self.label_mix:
            raise ValueError(f"label_mix must be 0 on mixed labels, got {self.label_mix!r}.")
        if self.soft_label != "softmax":
            raise ValueError(f"soft_label must be 'softmax' on mixed labels, got {self.soft_label!r}.")

    def _step(self, call: Call) -> Step:
        if not isinstance(call.inputs, Tensor) or not isinstance(call.targets, Tensor):
            raise ValueError("inputs and targets must be one tensor each, to be mixed.")
        mixing = Mixup(self.mixing_alpha) if self.mixing == "mixup" else CutMix(self.mixing_alpha, self.mixing_p)
        processes = processes_of(call.model, call.inputs, call.generator)
        mixed = mixing.mix(call.inputs, call.targets, processes, call.generator)
        if mixed is None:
            return super()._step(call)
        criterion = partial(mixed_loss, call.criterion, mixed.lam)
        return super()._step(call._replace(inputs=mixed.images, targets=mixed.labels, criterion=criterion))

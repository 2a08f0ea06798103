"""Stochastic Batch Augmentation, as read from its abstracts (arXiv:2006.15284; README.md lists the readings)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sba import ranges
from sba.call import Call, Criterion, check_call, check_logits, check_targets
from sba.joint_pass import joint_pass
from sba.layers import Forward, check_layers, draw_layer
from sba.loss import augmented_loss, criterion_loss
from sba.processes import processes_of
from sba.scheduler import SchedulerState, augments
from sba.vicinity import distances, virtual_activations

_ONE_GRAPH = (
    "an SBA step decides at run time whether and behind which layer it augments, so it cannot be part of one graph: "
    "leave fullgraph False, or compile the model and not the step."
)


class Step(NamedTuple):
    """Result of one training step.

    Attributes:
        loss: scalar to backpropagate.
        logits: (N, classes, ...) logits of the originals, in float32 or better.
        virtual: number of virtual samples of this process, 0 in a step that is not augmented.
        layer: the layer behind which the virtual samples joined the batch, None without any.
    """

    loss: Tensor
    logits: Tensor
    virtual: int = 0
    layer: str | None = None


@dataclass(frozen=True)
class SBA:
    """Loss of one training step with Stochastic Batch Augmentation.

    With probability p: draw a layer k from `layers`, h = its activation, M virtual activations
    h_m = h + noise * std(h) * eps, logits z and z_m of h and h_m in one pass, q = softmax(z / T), and
    loss = CE(z, y) + mean_m [alpha * CE(z_m, y) + kl_weight * T^2 * w_m * KL(q || softmax(z_m / T))].
    Otherwise loss = CE(f(x), y), without any further draw or cost.

    Args:
        layers: names from `model.named_modules()` ("input": the input), one drawn uniformly at each augmented step.
        p: share of augmented steps, in [0, 1]; 0 is plain training to the last bit.
        scheduler: "bernoulli" decides by a draw, "every_nth" spaces augmented steps evenly (`scheduler.augments`).
        ramp: "constant", or p grows or falls: "linear_up", "linear_down", "cosine_up", "cosine_down".
        ramp_steps: length of the ramp in steps, at least 1; 0 without a ramp.
        warmup_steps: steps without augmentation at the start, before the ramp.
        noise: size of the noise in `noise_unit`, at least 0; for "interpolation" the largest share, at most 1.
        noise_kind: "gaussian", "uniform_ball" or "interpolation" towards another sample (`virtual_activations`).
        noise_unit: "activation_std", "channel_std" (over all but dimension 1) or "absolute".
        noise_jitter: each virtual sample's noise is scaled by U(1 - jitter, 1 + jitter); in [0, 1].
        copies: virtual samples M for each original, at least 1.
        alpha: weight of the hard label's cross-entropy on virtual samples, at least 0.
        hard_labels: "sum" for CE(z, y) + alpha * mean_m CE(z_m, y), or "mean" for that sum divided by 1 + alpha, so
            that an augmented step weighs as much as a plain one; needs alpha above 0. The divergence is added as it is.
        kl_weight: weight (lambda) of the divergence from the soft label, at least 0.
        kl_ramp_steps: steps after the warm-up in which that weight grows linearly from 0; 0 for none.
        temperature: T > 0 of the soft label.
        soft_label: "softmax", or "dark_knowledge": without the true class, renormalised (`soft_label_loss`).
        label_mix: share of the hard label in the soft one, in [0, 1].
        label_gradient: whether the gradient flows through the soft label.
        divergence: "kl" or "symmetric".
        similarity_tau: None for w_m = 1; else w_m = exp(-d^2 / (2 tau^2)), d the RMS distance per element from virtual
            to original in units of std(h). With a fixed noise d hardly varies: use noise_jitter with it.
        batchnorm: "joint", or "originals": virtual samples stay out of running statistics (`joint_pass`).
        gradient_below: whether the virtual samples' gradient flows into the layers up to k.

    Raises:
        ValueError: a setting out of range or in conflict with another; the message gives the allowed values.

    Source: Li et al., IJCAI 2020, arXiv:2006.15284, abstract and introduction. The method section was not
    available: the form of the noise, the layers, T and the weights are readings, each a setting.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> generator = torch.Generator().manual_seed(0)
        >>> sba = SBA(layers=("1",), p=1.0)
        >>> step = sba(model, torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1]), generator=generator)
        >>> step.loss.backward()
        >>> step.logits.shape, step.virtual
        (torch.Size([5, 3]), 5)
    """

    layers: Annotated[tuple[str, ...], ranges.layer_names]
    p: Annotated[float, ranges.share] = 0.5
    scheduler: Literal["bernoulli", "every_nth"] = "bernoulli"
    ramp: Literal["constant", "linear_up", "linear_down", "cosine_up", "cosine_down"] = "constant"
    ramp_steps: Annotated[int, ranges.count] = 0
    warmup_steps: Annotated[int, ranges.count] = 0
    noise: Annotated[float, ranges.not_negative] = 0.5
    noise_kind: Literal["gaussian", "uniform_ball", "interpolation"] = "gaussian"
    noise_unit: Literal["activation_std", "channel_std", "absolute"] = "activation_std"
    noise_jitter: Annotated[float, ranges.share] = 0.0
    copies: Annotated[int, ranges.copies] = 1
    alpha: Annotated[float, ranges.not_negative] = 0.0
    kl_weight: Annotated[float, ranges.not_negative] = 1.0
    kl_ramp_steps: Annotated[int, ranges.count] = 0
    temperature: Annotated[float, partial(ranges.positive, most=1e6)] = 2.0  # above, every label is uniform
    soft_label: Literal["softmax", "dark_knowledge"] = "softmax"
    label_mix: Annotated[float, ranges.share] = 0.0
    label_gradient: bool = False
    divergence: Literal["kl", "symmetric"] = "kl"
    similarity_tau: Annotated[float | None, ranges.positive_or_none] = None
    batchnorm: Literal["joint", "originals"] = "joint"
    gradient_below: bool = True
    hard_labels: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        if isinstance(self.layers, list):
            object.__setattr__(self, "layers", tuple(self.layers))
        ranges.check(self)
        _check_conflicts(self)
        # Not a field: settings compare, hash and print without the state of a training.
        object.__setattr__(self, "_state", SchedulerState())

    def check(self, model: nn.Module) -> None:
        """Raise ValueError, with the nearest names, if the model lacks one of the layers."""
        check_layers(model, self.layers)

    def state_dict(self) -> dict[str, float]:
        """Return the scheduler's state as plain numbers for a checkpoint; save the generator's state beside it."""
        return asdict(self._scheduler_state)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Resume from a state that `state_dict` returned.

        Raises:
            ValueError: it has other keys.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(f"state must be a result of state_dict(), like {self.state_dict()}, got {dict(state)}.")
        self._scheduler_state.steps, self._scheduler_state.credit = int(state["steps"]), float(state["credit"])

    @property
    def _scheduler_state(self) -> SchedulerState:
        state: SchedulerState = self.__dict__["_state"]
        return state

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
        """Return the loss of one step; the caller backpropagates it.

        Args:
            model: any network that returns logits (N, classes, ...); it is not changed.
            inputs: the batch, a tensor (N, ...) on the model's device, or a tuple, list or dict of such tensors.
            targets: the criterion's targets, a tensor (N, ...) or a tuple, list or dict of such tensors. The default
                criterion takes class indices or probabilities.
            generator: CPU generator of the method's draws (decision, layer, seed of the noise). Under
                DistributedDataParallel and FSDP it is seeded alike in every process. All processes have the same number
                of rows, and take the step of a single process with the rows of all, in the order of their ranks.
            criterion: maps logits and targets to the mean loss, or to a loss for each example or place; CE in the
                formula. The divergence leaves out the examples or places that it ignores (`counted`).
            forward: maps model and inputs to the logits; None for model(inputs).

        Raises:
            ValueError: an argument of a wrong type or shape; a layer that does not exist or cannot be widened
                (`joint_pass`); a model that returns no logits; a criterion that returns no loss; processes
                that disagree (`processes_of`).
        """
        call = Call(model, inputs, targets, generator, criterion, forward)
        if torch.compiler.is_compiling():
            torch._dynamo.graph_break(msg=_ONE_GRAPH)
            step: Step = torch.compiler.disable(self._step)(call)
            return step
        return self._step(call)

    def _step(self, call: Call) -> Step:
        rows, number = check_call(call), self._scheduler_state.steps
        if number == 0:
            self.check(call.model)  # now, and not at the step that draws the layer
        processes = processes_of(call.model, rows, call.generator)
        if not augments(self, self._scheduler_state, call.generator):
            logits = check_logits(call.output(), len(rows))
            check_targets(self, call, logits)
            return Step(criterion_loss(call.criterion, logits, call.targets), logits)
        layer = draw_layer(self.layers, call.generator)
        seed = int(torch.randint(2**62, (), generator=call.generator, device="cpu"))
        weights: list[Tensor] = []

        def draw(activation: Tensor) -> Tensor:
            virtual = virtual_activations(activation, seed, self, processes)
            if self.similarity_tau is not None:
                distance = distances(activation, virtual, processes)
                weights.append(torch.exp(-(distance**2) / (2 * self.similarity_tau**2)))
            return virtual

        joint = joint_pass(call, layer, draw, self)
        logits, virtual = joint[: len(rows)], joint[len(rows) :]
        check_targets(self, call, logits)
        loss = augmented_loss(call, logits, virtual, weights[0] if weights else None, self, number)
        return Step(loss, logits, len(virtual), layer)


def _check_conflicts(sba: SBA) -> None:
    if (sba.ramp == "constant") != (sba.ramp_steps == 0):
        raise ValueError(
            f"ramp_steps must be 0 with ramp 'constant' and at least 1 with any other, got {sba.ramp_steps} with "
            f"ramp {sba.ramp!r}."
        )
    if sba.noise_kind == "interpolation":
        if sba.noise > 1:
            raise ValueError(f"noise must be at most 1 with noise_kind 'interpolation', got {sba.noise!r}.")
        if sba.noise_unit != "activation_std":
            raise ValueError(
                f"noise_unit must be left at its default with noise_kind 'interpolation', got {sba.noise_unit!r}."
            )
        if sba.noise_jitter:
            raise ValueError(f"noise_jitter must be 0 with noise_kind 'interpolation', got {sba.noise_jitter!r}.")
    if sba.soft_label == "dark_knowledge" and sba.label_mix:
        raise ValueError(
            f"label_mix must be 0 with soft_label 'dark_knowledge', which has no true class, got {sba.label_mix!r}."
        )
    if sba.hard_labels == "mean" and not sba.alpha:
        raise ValueError("hard_labels must be 'sum' with alpha 0, which leaves one cross-entropy, got 'mean'.")
    if sba.divergence == "symmetric" and sba.label_mix == 1:
        raise ValueError("label_mix must be below 1 with divergence 'symmetric', which is infinite for a hard label.")

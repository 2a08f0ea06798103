"""Stochastic Batch Augmentation, as read from its abstracts (arXiv:2006.15284; README.md lists the readings)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sba.activation import Forward
from sba.checks import check_call, check_logits, check_settings, check_shape
from sba.criterion import Criterion, copies_loss, counted, criterion_loss
from sba.joint_pass import forward_with_copies
from sba.layers import find_layer
from sba.processes import Processes, processes_of
from sba.scheduler import Decision, Ramp, SchedulerState, augments, probability
from sba.separate_batchnorm import BatchNorm
from sba.soft_label import Divergence, HardLabels, SoftLabel, soft_label_loss
from sba.vicinity import NoiseKind, NoiseUnit, virtual_activations

_ONE_GRAPH = (
    "an SBA step decides at run time whether and where it augments, so it cannot be part of one graph: leave fullgraph "
    "False, or compile the model and not the step."
)


class Step(NamedTuple):
    """Result of one training step.

    Attributes:
        loss: scalar to backpropagate.
        logits: (N, classes, ...) logits of the originals, in float32 or better.
        virtual: number of virtual samples in this step (of this process), 0 where it was not augmented.
        layer: the layer behind which the virtual samples joined the batch, None where there are none.
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
    Otherwise loss = CE(f(x), y), without a further draw or cost.

    Args:
        layers: names from `model.named_modules()` ("input": the input), one drawn uniformly at each augmented step.
        p: share of augmented steps, in [0, 1]; 0 is plain training to the last bit.
        scheduler: "bernoulli" decides by a draw, "every_nth" spaces augmented steps evenly (`scheduler.augments`).
        ramp: "constant", or p grows or falls: "linear_up", "linear_down", "cosine_up", "cosine_down".
        ramp_steps: steps that a ramp takes, at least 1; 0 without one.
        warmup_steps: steps before the first augmented one, and before the ramp.
        noise: size of the noise in `noise_unit`, at least 0; for "interpolation" the largest share, at most 1.
        noise_kind: "gaussian", "uniform_ball" or "interpolation" towards another sample (`virtual_activations`).
        noise_unit: "activation_std", "channel_std" (over all but dimension 1) or "absolute".
        noise_jitter: each virtual sample's noise is scaled by U(1 - jitter, 1 + jitter); in [0, 1].
        copies: virtual samples M for each original, at least 1.
        alpha: weight of the hard label's cross-entropy on virtual samples, at least 0.
        hard_labels: "sum" for CE(z, y) + alpha * mean_m CE(z_m, y), or "mean" for that sum divided by 1 + alpha, its
            weighted mean, so that an augmented step weighs as much as a plain one; needs alpha above 0. The divergence
            is added to either.
        kl_weight: weight (lambda) of the divergence from the soft label, at least 0.
        kl_ramp_steps: steps after the warm-up in which that weight grows linearly from 0; 0 for none.
        temperature: T > 0 of the soft label.
        soft_label: "softmax", or "dark_knowledge": without the true class, renormalised (`soft_label_loss`).
        label_mix: share of the hard label in the soft one, in [0, 1].
        label_gradient: whether the gradient flows through the soft label.
        divergence: "kl" or "symmetric".
        similarity_tau: None for w_m = 1; else w_m = exp(-d^2 / (2 tau^2)), d the RMS distance per element from virtual
            to original in units of std(h). With a fixed noise d hardly varies: use noise_jitter with it.
        batchnorm: "joint", or "originals": virtual samples stay out of running statistics (`forward_with_copies`).
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

    layers: tuple[str, ...]
    p: float = 0.5
    scheduler: Decision = "bernoulli"
    ramp: Ramp = "constant"
    ramp_steps: int = 0
    warmup_steps: int = 0
    noise: float = 0.5
    noise_kind: NoiseKind = "gaussian"
    noise_unit: NoiseUnit = "activation_std"
    noise_jitter: float = 0.0
    copies: int = 1
    alpha: float = 0.0
    kl_weight: float = 1.0
    kl_ramp_steps: int = 0
    temperature: float = 2.0
    soft_label: SoftLabel = "softmax"
    label_mix: float = 0.0
    label_gradient: bool = False
    divergence: Divergence = "kl"
    similarity_tau: float | None = None
    batchnorm: BatchNorm = "joint"
    gradient_below: bool = True
    hard_labels: HardLabels = "sum"

    def __post_init__(self) -> None:
        if isinstance(self.layers, list):
            object.__setattr__(self, "layers", tuple(self.layers))
        check_settings(self)
        # Not a field: settings compare, hash and print without the place in a training.
        object.__setattr__(self, "_state", SchedulerState())

    def check(self, model: nn.Module) -> None:
        """Raise ValueError, with the nearest names, where the model lacks one of the layers."""
        for layer in self.layers:
            find_layer(model, layer)

    def state_dict(self) -> dict[str, float]:
        """Return the scheduler's state, plain numbers for a checkpoint; save the generator's state beside it."""
        return asdict(self._scheduler_state)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a state that `state_dict` returned.

        Raises:
            ValueError: it is something else.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(f"state must be what state_dict() returned ({self.state_dict()}), got {dict(state)}.")
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
                DistributedDataParallel and FSDP it is seeded alike in every process, and a step is one of a single
                process with the batches of all in the order of their ranks; they have as many rows.
            criterion: maps logits and targets to the mean loss, or to a loss for each example or place; CE in the
                formula. Where it ignores examples or places, so does the divergence (`counted`).
            forward: maps model and inputs to the logits; None for model(inputs).

        Raises:
            ValueError: arguments of another kind; a layer that does not exist or cannot be widened
                (`forward_with_copies`); a model that does not return logits; a criterion that returns no loss;
                processes that disagree (`processes_of`).
        """
        if torch.compiler.is_compiling():
            torch._dynamo.graph_break(msg=_ONE_GRAPH)
            step: Step = torch.compiler.disable(self._step)(model, inputs, targets, generator, criterion, forward)
            return step
        return self._step(model, inputs, targets, generator, criterion, forward)

    def _step(
        self,
        model: nn.Module,
        inputs: Any,
        targets: Any,
        generator: torch.Generator,
        criterion: Criterion,
        forward: Forward | None,
    ) -> Step:
        rows = check_call(self, inputs, targets, generator, criterion, forward)
        examples, number = len(rows), self._scheduler_state.steps
        if number == 0:
            self.check(model)  # now, and not at the step that draws the layer
        processes = processes_of(model, rows, generator)
        p = probability(self.p, self.ramp, self.ramp_steps, self.warmup_steps, number)
        if not augments(self.scheduler, p, self._scheduler_state, generator):
            logits = check_logits(model(inputs) if forward is None else forward(model, inputs), examples)
            check_shape(self, targets, criterion, logits)
            return Step(criterion_loss(criterion, logits, targets), logits)
        layer = self.layers[int(torch.randint(len(self.layers), (), generator=generator))]
        seed = int(torch.randint(2**62, (), generator=generator))
        joint, distance = self._joint_pass(model, layer, inputs, seed, processes, forward)
        logits, virtual = joint[:examples], joint[examples:]
        check_shape(self, targets, criterion, logits)
        return Step(self._loss(logits, virtual, targets, criterion, distance, number), logits, len(virtual), layer)

    def _joint_pass(
        self,
        model: nn.Module,
        layer: str,
        inputs: Any,
        seed: int,
        processes: Processes,
        forward: Forward | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return ((1 + M) * N, classes, ...) logits and the virtual samples' distances, if they are needed."""
        distances: list[Tensor | None] = []

        def draw(activation: Tensor) -> Tensor:
            virtual, distance = virtual_activations(
                activation,
                seed,
                noise=self.noise,
                kind=self.noise_kind,
                unit=self.noise_unit,
                jitter=self.noise_jitter,
                copies=self.copies,
                distance=self.similarity_tau is not None,
                processes=processes,
            )
            distances.append(distance)
            return virtual

        logits = forward_with_copies(
            model,
            layer,
            inputs,
            draw,
            copies=self.copies,
            batchnorm=self.batchnorm,
            gradient_below=self.gradient_below,
            forward=forward,
        )
        return logits, distances[0]

    def _loss(
        self,
        logits: Tensor,
        virtual: Tensor,
        targets: Any,
        criterion: Criterion,
        distance: Tensor | None,
        number: int,
    ) -> Tensor:
        """Return the loss of augmented step `number` (from 0)."""
        of_originals = loss = criterion_loss(criterion, logits, targets)
        if self.alpha:
            loss = loss + self.alpha * copies_loss(criterion, virtual, targets, self.copies)
            if self.hard_labels == "mean":
                loss = loss / (1 + self.alpha)
        if not self.kl_weight:
            return loss
        ramp = min(1.0, (number - self.warmup_steps) / self.kl_ramp_steps) if self.kl_ramp_steps else 1.0
        tau = self.similarity_tau
        divergence = soft_label_loss(
            logits,
            virtual,
            targets,
            temperature=self.temperature,
            kind=self.soft_label,
            mix=self.label_mix,
            gradient=self.label_gradient,
            divergence=self.divergence,
            weights=None if tau is None or distance is None else torch.exp(-(distance**2) / (2 * tau**2)),
            counted=counted(criterion, of_originals, logits, targets),
        )
        return loss + self.kl_weight * ramp * divergence

"""The vicinity: the distribution of virtual activations around a layer's output."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import torch
from torch import Tensor

NoiseKind = Literal["gaussian", "uniform_ball", "interpolation"]
NoiseUnit = Literal["activation_std", "channel_std", "absolute"]

CPU_PARTS = 16
CPU_SMALL = 2**21  # elements that one core draws in the time that threads need to start and to stop
CPU_BLOCK = 2**15  # torch copies no more than so many elements without starting threads of its own


class Virtual(NamedTuple):
    """Virtual activations of M copies.

    Attributes:
        activations: (M * N, ...), copy by copy, in the activation's dtype and memory format.
        distance: (M * N,) distances to their originals, RMS per element in units of std(h), without gradient; None
            where nobody asked for them.
    """

    activations: Tensor
    distance: Tensor | None


def virtual_activations(
    activation: Tensor,
    seed: int,
    *,
    noise: float,
    kind: NoiseKind = "gaussian",
    unit: NoiseUnit = "activation_std",
    jitter: float = 0.0,
    copies: int = 1,
    distance: bool = False,
) -> Virtual:
    """Draw virtual activations h_m around h, for m = 1..copies.

    h_m = h + noise * u * r * eps, with r ~ U(1 - jitter, 1 + jitter) for each virtual sample and eps ~ N(0, I)
    ("gaussian") or uniform in the ball of radius sqrt(d) in the d elements of one sample's activation
    ("uniform_ball": nearly the same length as Gaussian noise, but bounded). The unit u is std(h) over the whole
    tensor, over all but dimension 1 for each channel, or 1. "interpolation" goes towards another sample of the
    batch instead: h_m = h + lam * (h[partner] - h), lam ~ U(0, noise) for each virtual sample.

    Units carry no gradient; the gradient flows through h.

    Args:
        activation: (N, ...) floating point activation h of one layer.
        seed: seed of the draws, on generators of the activation's device, so that no device is waited for.
        noise: size of the noise in units u, at least 0; at most 1 for interpolation.
        kind: the distribution.
        unit: the unit u; not used by interpolation.
        jitter: in [0, 1]; not used by interpolation.
        copies: number M of virtual activations for each original, at least 1.
        distance: whether distances are wanted.
    """
    generator = torch.Generator(activation.device).manual_seed(seed)  # of all that is drawn once for each sample
    batch = torch.cat([activation] * copies) if copies > 1 else activation  # (M * N, ...)
    if kind == "interpolation":
        virtual = _interpolated(activation, batch, noise, generator)
    else:
        scale = noise * _unit(activation, unit)
        if jitter:
            scale = scale * (1 + jitter * (2 * _uniform(batch, generator) - 1))
        eps = _normal(batch, seed + 1)
        if kind == "uniform_ball":
            eps = _into_ball(eps, generator)
        virtual = torch.addcmul(batch, eps, scale.to(batch.dtype))
    return Virtual(virtual, _distance(batch, virtual, activation) if distance else None)


def _unit(activation: Tensor, unit: NoiseUnit) -> Tensor:
    """Return the unit u, broadcastable over the activation, in float32."""
    if unit == "absolute":
        return torch.ones((), device=activation.device)
    values = activation.detach().float()
    if unit == "activation_std":
        return values.std(correction=0)  # ()
    others = [d for d in range(values.dim()) if d != 1]
    return values.std(others, correction=0, keepdim=True)  # (1, C, 1, ...)


def _normal(batch: Tensor, seed: int) -> Tensor:
    """Return standard normal noise of the batch's shape and dtype, the same whatever its memory format.

    Images are drawn channels last: on a CPU, draws across a layout take eight times as long. There a generator works on
    one core, so parts of the noise, each with a seed of its own, are drawn side by side; how many parts does not depend
    on the machine, and so neither does the noise.
    """
    flat = torch.empty(batch.numel(), dtype=batch.dtype, device=batch.device)
    inference = torch.is_inference_mode_enabled()  # threads begin without it

    def fill(part: Tensor, number: int = 0) -> None:
        with torch.inference_mode(inference):
            generator = torch.Generator(batch.device).manual_seed(seed + number)
            for block in part.split(CPU_BLOCK) if batch.device.type == "cpu" else [part]:
                block.copy_(torch.randn(len(block), generator=generator, device=batch.device))

    if batch.device.type != "cpu":
        fill(flat)
    elif flat.numel() < CPU_SMALL:
        for number, part in enumerate(flat.chunk(CPU_PARTS)):
            fill(part, number)
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(fill, flat.chunk(CPU_PARTS), range(CPU_PARTS)))
    if batch.dim() < 4:
        return flat.view(batch.shape)
    n, channels, *places = batch.shape
    return flat.view(n, *places, channels).movedim(-1, 1)


def _uniform(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Return one U(0, 1) for each sample, (M * N, 1, ...)."""
    return torch.rand((len(batch),) + (1,) * (batch.dim() - 1), generator=generator, device=batch.device)


def _into_ball(eps: Tensor, generator: torch.Generator) -> Tensor:
    """Turn normal noise into noise uniform in the ball of radius sqrt(d): the direction stays, the length is drawn."""
    size = eps[0].numel()
    lengths: Tensor = eps.flatten(1).float().norm(dim=1).view((-1,) + (1,) * (eps.dim() - 1))
    radii: Tensor = math.sqrt(size) * _uniform(eps, generator) ** (1 / size)  # (M * N, 1, ...)
    return eps * (radii / lengths).to(eps.dtype)


def _interpolated(activation: Tensor, batch: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Move every virtual sample towards a partner, a permutation of the batch for each copy."""
    n = len(activation)
    partners = torch.cat(
        [torch.randperm(n, generator=generator, device=batch.device) for _ in range(len(batch) // n)]
    )  # (M * N,)
    shares = noise * _uniform(batch, generator)
    return torch.lerp(batch, activation[partners], shares.to(batch.dtype))


def _distance(batch: Tensor, virtual: Tensor, activation: Tensor) -> Tensor:
    """Return each virtual sample's RMS distance per element to its original, in units of std(h)."""
    with torch.no_grad():
        moved = (virtual.float() - batch.float()).flatten(1)  # (M * N, d)
        unit = _unit(activation, "activation_std").clamp_min(torch.finfo(torch.float32).tiny)
        distance: Tensor = moved.square().mean(1).sqrt() / unit
        return distance

"""The vicinity: the distribution of virtual activations around a layer's output."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sba.processes import Processes

NoiseKind = Literal["gaussian", "uniform_ball", "interpolation"]
NoiseUnit = Literal["activation_std", "channel_std", "absolute"]

RANKS_APART = 2**20  # between the seeds of two processes that draw noise of their own
CPU_PARTS = 16
CPU_SMALL = 2**21  # elements that one core draws in the time that threads need to start and to stop
CPU_BLOCK = 2**15  # elements; torch starts threads of its own to copy more
ALONE = Processes()


class Virtual(NamedTuple):
    """Virtual activations of M copies.

    Attributes:
        activations: (M * N, ...), copy by copy, in the activation's dtype and memory format.
        distance: (M * N,) distances to their originals, RMS per element in units of std(h), without gradient; None
            unless requested.
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
    processes: Processes = ALONE,
) -> Virtual:
    """Draw virtual activations h_m around h, for m = 1..copies.

    h_m = h + noise * u * r * eps, with r ~ U(1 - jitter, 1 + jitter) for each virtual sample and eps ~ N(0, I)
    ("gaussian") or uniform in the ball of radius sqrt(d) in the d elements of one sample's activation
    ("uniform_ball": nearly the same length as Gaussian noise, but bounded). The unit u is std(h) over the whole
    tensor, over all but dimension 1 for each channel, or 1. "interpolation" goes towards another sample of the
    batch instead: h_m = h + lam * (h[partner] - h), lam ~ U(0, noise) for each virtual sample.

    Units carry no gradient; the gradient flows through h.

    Where several processes share a batch, std(h) is that of all their activations, partners are among all their rows,
    and every draw is the one that a single process would make for the row, with one exception: a GPU's generator cannot
    draw a part of the noise eps, so on GPUs every process draws noise eps of its own.

    Args:
        activation: (N, ...) floating point activation h of one layer.
        seed: seed of the draws, on generators of the activation's device, so that no device is waited for.
        noise: size of the noise in units u, at least 0; at most 1 for interpolation.
        kind: the distribution.
        unit: the unit u; not used by interpolation.
        jitter: in [0, 1]; not used by interpolation.
        copies: number M of virtual activations for each original, at least 1.
        distance: whether distances are wanted.
        processes: those that share the batch.
    """
    generator = torch.Generator(activation.device).manual_seed(seed)  # of all that is drawn once for each sample
    batch = torch.cat([activation] * copies) if copies > 1 else activation  # (M * N, ...)
    if kind == "interpolation":
        virtual = _interpolated(activation, batch, noise, generator, processes)
    else:
        scale = noise * _unit(activation, unit, processes)
        if jitter:
            scale = scale * (1 + jitter * (2 * _uniform(batch, copies, generator, processes) - 1))
        eps = _normal(batch, copies, seed + 1, processes)
        if kind == "uniform_ball":
            eps = _into_ball(eps, _uniform(batch, copies, generator, processes))
        virtual = torch.addcmul(batch, eps, scale.to(batch.dtype))
    return Virtual(
        virtual, _distance(batch, virtual, _unit(activation, "activation_std", processes)) if distance else None
    )


def _unit(activation: Tensor, unit: NoiseUnit, processes: Processes) -> Tensor:
    """Return the unit u, broadcastable over the activation, in float32."""
    if unit == "absolute":
        return torch.ones((), device=activation.device)
    values = activation.detach().float()
    others = list(range(values.dim()))
    if unit == "channel_std":
        others.remove(1)
    if processes.size == 1:
        if unit == "activation_std":
            return values.std(correction=0)  # ()
        return values.std(others, correction=0, keepdim=True)  # (1, C, 1, ...)
    variance, mean = torch.var_mean(values, others, correction=0, keepdim=True)
    means, variances = processes.gather(torch.stack([mean, variance])[None]).unbind(1)  # (W, 1, C or 1, 1, ...) each
    # As many rows in each: the variance of all is the mean of the variances and the variance of the means.
    return (variances.mean(0) + means.var(0, correction=0)).sqrt()


def _normal(batch: Tensor, copies: int, seed: int, processes: Processes) -> Tensor:
    """Return standard normal noise of the batch's shape and dtype, the same in every memory format.

    Images are drawn channels last: on a CPU, draws across a layout take eight times as long.
    """
    flat = torch.empty(batch.numel(), dtype=batch.dtype, device=batch.device)
    if batch.device.type == "cpu":
        _draw_in_parts(flat, copies, seed, processes)
    else:
        generator = torch.Generator(batch.device).manual_seed(seed + processes.rank * RANKS_APART)
        flat.copy_(torch.randn(len(flat), generator=generator, device=batch.device))
    if batch.dim() < 4:
        return flat.view(batch.shape)
    n, channels, *places = batch.shape
    return flat.view(n, *places, channels).movedim(-1, 1)


def _draw_in_parts(flat: Tensor, copies: int, seed: int, processes: Processes) -> None:
    """Fill a tensor on the CPU with this process's share of the noise of the whole batch, copy by copy.

    A generator works on one core, so parts of the noise, each with a seed of its own, are drawn side by side; how many
    parts depends neither on the machine nor on the number of processes, and so neither does the noise. Only what this
    process needs is drawn: the parts that its rows lie in, up to the last of them.
    """
    total, here = len(flat) * processes.size, len(flat) // copies  # noise of the whole batch; of one copy here
    part = -(-total // CPU_PARTS)
    inference = torch.is_inference_mode_enabled()  # threads begin without it

    def fill(number: int) -> None:
        first, end = number * part, min((number + 1) * part, total)
        wanted = []  # first and end in the noise of the whole batch, and how far the place in `flat` is from there
        for copy in range(copies):
            begin = (copy * processes.size + processes.rank) * here
            if max(begin, first) < min(begin + here, end):
                wanted.append((max(begin, first), min(begin + here, end), copy * here - begin))
        generator = torch.Generator().manual_seed(seed + number)
        with torch.inference_mode(inference):
            for start in range(first, wanted[-1][1] if wanted else first, CPU_BLOCK):
                block = torch.randn(min(CPU_BLOCK, end - start), generator=generator)
                for begin, stop, away in wanted:
                    a, b = max(begin, start), min(stop, start + len(block))
                    if a < b:
                        flat[a + away : b + away].copy_(block[a - start : b - start])

    if len(flat) < CPU_SMALL:
        for number in range(CPU_PARTS):
            fill(number)
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(fill, range(CPU_PARTS)))


def _uniform(batch: Tensor, copies: int, generator: torch.Generator, processes: Processes) -> Tensor:
    """Return one U(0, 1) for each sample, (M * N, 1, ...)."""
    shape = (len(batch) * processes.size,) + (1,) * (batch.dim() - 1)
    return processes.own(torch.rand(shape, generator=generator, device=batch.device), copies)


def _into_ball(eps: Tensor, shares: Tensor) -> Tensor:
    """Turn normal noise into noise uniform in the ball of radius sqrt(d): the direction stays, a share of U(0, 1) for
    each sample, (M * N, 1, ...), gives the length.
    """
    size = eps[0].numel()
    lengths: Tensor = eps.flatten(1).float().norm(dim=1).view((-1,) + (1,) * (eps.dim() - 1))
    radii: Tensor = math.sqrt(size) * shares ** (1 / size)  # (M * N, 1, ...)
    return eps * (radii / lengths).to(eps.dtype)


def _interpolated(
    activation: Tensor, batch: Tensor, noise: float, generator: torch.Generator, processes: Processes
) -> Tensor:
    """Move every virtual sample towards a partner, a permutation of the whole batch for each copy."""
    whole, copies = processes.gather(activation), len(batch) // len(activation)
    orders = [torch.randperm(len(whole), generator=generator, device=batch.device) for _ in range(copies)]
    partners = processes.own(torch.cat(orders), copies)  # (M * N,)
    shares = noise * _uniform(batch, copies, generator, processes)
    return torch.lerp(batch, whole[partners], shares.to(batch.dtype))


def _distance(batch: Tensor, virtual: Tensor, unit: Tensor) -> Tensor:
    """Return each virtual sample's RMS distance per element to its original, in units of std(h)."""
    with torch.no_grad():
        moved = (virtual.float() - batch.float()).flatten(1)  # (M * N, d)
        unit = unit.flatten().clamp_min(torch.finfo(torch.float32).tiny)
        distance: Tensor = moved.square().mean(1).sqrt() / unit
        return distance

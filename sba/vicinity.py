"""The vicinity: the distribution of virtual activations around a layer's output."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sba.processes import ALONE, Processes

if TYPE_CHECKING:
    from sba.method import SBA

_RANKS_APART = 2**20  # between the seeds of two processes that draw noise of their own
_CPU_PARTS = 16
_CPU_SMALL = 2**21  # elements that one core draws in the time that threads need to start and to stop
_CPU_BLOCK = 2**15  # elements; torch starts threads of its own to copy more


def virtual_activations(activation: Tensor, seed: int, settings: "SBA", processes: Processes = ALONE) -> Tensor:
    """Draw virtual activations h_m around h, for m = 1..copies.

    h_m = h + noise * u * r * eps, with r ~ U(1 - noise_jitter, 1 + noise_jitter) for each virtual sample and
    eps ~ N(0, I) ("gaussian") or uniform in the ball of radius sqrt(d) in the d elements of one sample's activation
    ("uniform_ball": nearly the same length as Gaussian noise, but bounded). The unit u is std(h) over the whole
    tensor, over all but dimension 1 for each channel, or 1; it carries no gradient. "interpolation" goes towards
    another sample of the batch instead: h_m = h + lam * (h[partner] - h), lam ~ U(0, noise) for each virtual sample.

    If several processes share a batch, std(h) is that of all their activations, partners are drawn from all their rows,
    and every draw is that of a single process for the row. The exception is the noise eps on GPUs: a GPU's generator
    cannot draw a part of it, so every process draws its own.

    Args:
        activation: (N, ...) floating point activation h of one layer.
        seed: seed of the draws, on generators of the activation's device, so that no device is waited for.
        settings: `noise`, `noise_kind`, `noise_unit`, `noise_jitter` and `copies`.
        processes: the processes that share the batch.

    Returns:
        (copies * N, ...) virtual activations, copy by copy, in the activation's dtype and memory format. In float16,
        those that the noise moves beyond the largest finite value are that value.
    """
    generator = torch.Generator(activation.device).manual_seed(seed)  # for all that is drawn once for each sample
    copies, jitter = settings.copies, settings.noise_jitter
    batch = _repeated(activation, copies)
    if settings.noise_kind == "interpolation":
        return _interpolated(activation, batch, settings.noise, generator, processes)
    scale = settings.noise * _unit(activation, settings.noise_unit, processes)
    if jitter:
        scale = scale * (1 + jitter * (2 * _uniform(batch, copies, generator, processes) - 1))
    eps = _normal(batch, copies, seed + 1, processes)
    if settings.noise_kind == "uniform_ball":
        eps = _into_ball(eps, _uniform(batch, copies, generator, processes))
    if batch.dtype != torch.float16:
        return torch.addcmul(batch, eps, scale.to(batch.dtype))
    # An infinite value would stay in BatchNorm's running statistics, also where a GradScaler skips the step.
    largest = torch.finfo(torch.float16).max
    return torch.addcmul(batch, eps, scale.clamp(max=largest).half()).clamp(-largest, largest)


def distances(activation: Tensor, virtual: Tensor, processes: Processes = ALONE) -> Tensor:
    """Return each virtual sample's RMS distance per element to its original, in units of std(h), without gradient.

    Args:
        activation: (N, ...) activation h.
        virtual: (M * N, ...) virtual activations, copy by copy.
        processes: the processes that share the batch.

    Returns:
        (M * N,) distances in float32.
    """
    with torch.no_grad():
        batch = _repeated(activation, len(virtual) // len(activation))
        moved = (virtual.float() - batch.float()).flatten(1)  # (M * N, d)
        unit = _unit(activation, "activation_std", processes).flatten()
        distance: Tensor = moved.square().mean(1).sqrt() / unit.clamp_min(torch.finfo(torch.float32).tiny)
        return distance


def _repeated(activation: Tensor, copies: int) -> Tensor:
    """Return (copies * N, ...) rows in the activation's memory format."""
    return torch.cat([activation] * copies) if copies > 1 else activation


def _unit(activation: Tensor, unit: str, processes: Processes) -> Tensor:
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
        generator = torch.Generator(batch.device).manual_seed(seed + processes.rank * _RANKS_APART)
        flat.copy_(torch.randn(len(flat), generator=generator, device=batch.device))
    if batch.dim() < 4:
        return flat.view(batch.shape)
    n, channels, *places = batch.shape
    return flat.view(n, *places, channels).movedim(-1, 1)


def _draw_in_parts(flat: Tensor, copies: int, seed: int, processes: Processes) -> None:
    """Fill a tensor on the CPU with this process's share of the noise of the whole batch, copy by copy.

    A generator works on one core, so parts of the noise, each with a seed of its own, are drawn in parallel. Their
    number, and so the noise, depends neither on the machine nor on the number of processes. Each part is drawn only up
    to the last element that this process needs.
    """
    total, here = len(flat) * processes.size, len(flat) // copies  # noise of the whole batch; of one copy here
    part = -(-total // _CPU_PARTS)
    inference = torch.is_inference_mode_enabled()  # threads begin without it

    def fill(number: int) -> None:
        first, end = number * part, min((number + 1) * part, total)
        wanted = []  # begin and end in the noise of the whole batch, and the shift from there into `flat`
        for copy in range(copies):
            begin = (copy * processes.size + processes.rank) * here
            if max(begin, first) < min(begin + here, end):
                wanted.append((max(begin, first), min(begin + here, end), copy * here - begin))
        generator = torch.Generator().manual_seed(seed + number)
        with torch.inference_mode(inference):
            for start in range(first, wanted[-1][1] if wanted else first, _CPU_BLOCK):
                block = torch.randn(min(_CPU_BLOCK, end - start), generator=generator, device="cpu")
                for begin, stop, shift in wanted:
                    a, b = max(begin, start), min(stop, start + len(block))
                    if a < b:
                        flat[a + shift : b + shift].copy_(block[a - start : b - start])

    if len(flat) < _CPU_SMALL:
        for number in range(_CPU_PARTS):
            fill(number)
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(fill, range(_CPU_PARTS)))


def _uniform(batch: Tensor, copies: int, generator: torch.Generator, processes: Processes) -> Tensor:
    """Return one U(0, 1) for each sample, (M * N, 1, ...)."""
    shape = (len(batch) * processes.size,) + (1,) * (batch.dim() - 1)
    return processes.own(torch.rand(shape, generator=generator, device=batch.device), copies)


def _into_ball(eps: Tensor, shares: Tensor) -> Tensor:
    """Turn normal noise into noise uniform in the ball of radius sqrt(d), with shares (M * N, 1, ...) from U(0, 1)."""
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

"""The vicinity: virtual activations around a layer's output, run beside the originals in one forward pass."""

import difflib

import torch
from torch import Tensor, nn


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the module called `name` in `model.named_modules()`.

    Raises:
        ValueError: there is none; the message has the nearest names and the model's layers.
    """
    modules: dict[str, nn.Module] = {key: module for key, module in model.named_modules() if key}
    if name in modules:
        return modules[name]
    close = difflib.get_close_matches(name, modules, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    top = ", ".join(key for key, _ in model.named_children())
    raise ValueError(
        f"{type(model).__name__} has no layer {name!r}.{hint} Its top layers are: {top}. "
        "Every name in model.named_modules() is allowed."
    )


def virtual_activations(activation: Tensor, noise: float, copies: int, generator: torch.Generator) -> Tensor:
    """Draw virtual activations h_m = h + noise * std(h) * eps, eps ~ N(0, I), for m = 1..copies.

    The standard deviation is taken over the whole activation tensor, in float32 and without gradient; the
    gradient flows through h.

    Args:
        activation: (N, ...) floating point activation h of one layer.
        noise: size of the noise in units of std(h), at least 0.
        copies: number M of virtual activations for each original, at least 1.
        generator: a CPU generator. It draws one seed for a generator on the activation's device, so that the
            number of draws does not depend on the activation's size and no device is waited for.

    Returns:
        (M * N, ...) virtual activations, copy by copy, in the activation's dtype and memory format.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    on_device = torch.Generator(activation.device).manual_seed(seed)
    scale = (noise * activation.detach().float().std()).to(activation.dtype)  # ()
    batch = torch.cat([activation] * copies) if copies > 1 else activation  # (M * N, ...)
    # Drawn flat and then laid out like the batch: on a CPU, draws into channels_last memory take eight times as long.
    eps = torch.randn(batch.numel(), generator=on_device, device=batch.device).to(batch.dtype)
    eps = eps.as_strided(batch.shape, torch.empty_like(batch, device="meta").stride())
    return torch.addcmul(batch, eps, scale)


def forward_with_copies(
    model: nn.Module, layer: str, images: Tensor, *, noise: float, copies: int, generator: torch.Generator
) -> Tensor:
    """Run the model once, with virtual activations joined to the batch after `layer`.

    A forward hook widens the batch from N to (1 + M) N examples, so the layers up to `layer` run once and
    BatchNorm above it sees originals and copies together. The hook is removed whatever happens.

    Args:
        model: any module that treats the examples of a batch alike and returns logits.
        layer: name of a module that is called once in a forward pass and returns one tensor (N, ...).
        images: (N, ...) input.
        noise, copies, generator: as in `virtual_activations`.

    Returns:
        ((1 + M) * N, classes) logits: the originals', then each copy's.

    Raises:
        ValueError: the layer does not exist, is not called exactly once, returns something else than one
            tensor of N examples, or lies inside a skip connection that still has N examples.
    """
    examples = len(images)
    calls = 0

    def widen(_module: nn.Module, _inputs: object, activation: object) -> Tensor:
        nonlocal calls
        calls += 1
        if not isinstance(activation, Tensor) or not activation.is_floating_point() or len(activation) != examples:
            raise ValueError(f"layer {layer!r} must return one floating point tensor of {examples} examples, once.")
        virtual = virtual_activations(activation, noise, copies, generator)
        return torch.cat([activation, virtual])

    handle = find_layer(model, layer).register_forward_hook(widen)
    try:
        logits = model(images)
    except RuntimeError as error:
        if calls and "size" in str(error) and "match" in str(error):
            raise ValueError(
                f"the batch could not be widened after layer {layer!r}: a later layer still expects {examples} "
                "examples. A skip connection probably spans the layer; name the whole block instead. "
                f"({error})"
            ) from error
        raise
    finally:
        handle.remove()
    if calls != 1 or not isinstance(logits, Tensor) or len(logits) != (1 + copies) * examples:
        raise ValueError(
            f"layer {layer!r} was called {calls} times and the model returned {tuple(getattr(logits, 'shape', ()))}; "
            f"the layer must be called once and the model return ({(1 + copies) * examples}, classes) logits."
        )
    return logits

"""The joint pass: originals and virtual samples share the layers below one layer, and the batch above it."""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from sba.checks import check_logits, describe
from sba.layers import find_layer, unwrap
from sba.separate_batchnorm import BatchNorm, separate

_SKIPPED = (
    "the batch could not be widened after layer {layer!r}: something behind it still expects {examples} examples, such "
    "as a skip connection that spans the layer, or a mask made before it. Name the whole block, or a layer behind it. "
    "({error})"
)
_UNUSED = "layer {layer!r} is not called in a forward pass (a ModuleList, for example, never is); name one that is."
_UNFIT = (
    "layer {layer!r} must return one floating point tensor with a row for each of the {examples} examples, it returned "
    "{found}. Name another layer, such as one that takes its output."
)


def forward_with_copies(
    model: nn.Module,
    layer: str,
    images: Tensor,
    draw: Callable[[Tensor], Tensor],
    *,
    copies: int,
    batchnorm: BatchNorm = "joint",
    gradient_below: bool = True,
) -> Tensor:
    """Run the model once, with virtual activations joined to the batch after `layer`.

    A forward hook widens the batch from N to (1 + M) N examples, so the layers up to `layer` run once. All hooks
    are removed whatever happens. What torch.compile has compiled runs uncompiled in this pass, unless the model offers
    its two halves around the layer: `model.below_and_above(layer)` returns two functions, or None for a layer where it
    cannot be cut. The halves are called instead of the model, and need no hook.

    Args:
        model: any module that treats the examples of a batch alike and returns logits; wrapped or not.
        layer: name of a module that is called once in a forward pass and returns one tensor (N, ...); or "input".
        images: (N, ...) input.
        draw: gives (M * N, ...) virtual activations for (N, ...) activations.
        copies: M.
        batchnorm: "joint": BatchNorm above the layer normalises originals and virtual samples together, and all enter
            its running statistics; "originals": see `separate`.
        gradient_below: whether the virtual samples' gradient flows into the layers up to `layer`.

    Returns:
        ((1 + M) * N, classes) logits: the originals', then each copy's.

    Raises:
        ValueError: the layer does not exist, is not called exactly once, returns something else than one tensor of N
            examples, or something behind it still has N examples.
    """
    seen: list[int] = []  # rows of every activation that the layer returned

    def widen(_module: nn.Module, _inputs: object, activation: object) -> Tensor:
        if seen:
            raise ValueError(f"layer {layer!r} is called more than once in a forward pass; name another.")
        if not isinstance(activation, Tensor) or not activation.is_floating_point() or len(activation) != len(images):
            raise ValueError(_UNFIT.format(layer=layer, examples=len(images), found=describe(activation)))
        seen.append(len(activation))
        virtual = draw(activation if gradient_below else activation.detach())
        return torch.cat([activation, virtual])

    def keep_apart(hooks: ExitStack) -> None:
        separate(unwrap(model), copies, lambda: bool(seen), hooks)

    try:
        logits = _call(model, layer, images, widen, keep_apart if batchnorm == "originals" else None)
    except (RuntimeError, AssertionError) as error:
        if seen and ("size" in str(error) or "shape" in str(error)):
            raise ValueError(_SKIPPED.format(layer=layer, examples=len(images), error=error)) from error
        raise
    if not seen:
        raise ValueError(_UNUSED.format(layer=layer))
    return check_logits(logits, (1 + copies) * len(images))


def _call(
    model: nn.Module,
    layer: str,
    images: Tensor,
    widen: Callable[[nn.Module, object, object], Tensor],
    prepare: Callable[[ExitStack], None] | None,
) -> Tensor:
    """Call the model with `widen` behind the layer, by a hook or, without `prepare`, between the halves it offers."""
    module = find_layer(model, layer)
    halves = getattr(model, "below_and_above", None)
    cut = halves(layer) if halves is not None and prepare is None else None
    if cut is not None:
        below, above = cut
        return above(widen(model, (), below(images)))  # type: ignore[no-any-return]
    with ExitStack() as hooks:
        # A compiled network does not see hooks that were not there when it was compiled.
        hooks.enter_context(torch.compiler.set_stance("force_eager"))
        if prepare is not None:
            prepare(hooks)
        if module is not None:
            hooks.callback(module.register_forward_hook(widen).remove)
        return model(images if module is not None else widen(model, (), images))  # type: ignore[no-any-return]

"""Networks as people bring them to `evaluate --model`, each with the outcome that it must have.

`foreign_networks:NAME` makes the network of a row of `NETWORKS`. All but those that cannot work have the weights of a
small network trained on digits, so that the checks judge a network whose accuracy is real.
"""

import copy
import functools
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from networks.around import Around
from networks.sanity_nets import Counts
from studies.tiny_study import pixels_of
from torch import Tensor, nn

from benchmark.data.load import load_data, to_float
from benchmark.settings.load import load_preset


class Row(NamedTuple):
    """A network and what must come of it.

    Attributes:
        make: returns the network, or does something else than that.
        outcome: evaluated without a flag, evaluated with one, or refused in a message.
        words: in the flag or in the message.
    """

    make: Callable[[], object]
    outcome: Literal["evaluated", "flagged", "refused"]
    words: str = ""


# Networks that work.


def trained(make: Callable[[], nn.Module]) -> nn.Module:
    """Make a network and train it on digits, until it fits them."""
    data = load_data(load_preset("smoke").data, [])
    images, labels = to_float(pixels_of(data.train)), data.train.labels
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        network = make()
        network(images[:2])  # makes the weights of lazy modules
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
    for parameter in network.parameters():
        parameter.grad = None
    return network.eval()


@functools.cache
def _plain() -> nn.Module:
    return trained(lambda: sequence(nn.BatchNorm2d(8)))


def plain() -> nn.Module:
    """A convolution, BatchNorm and a linear layer."""
    return copy.deepcopy(_plain())


def sequence(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), norm, nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))


def linear() -> nn.Module:
    return trained(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


class Before(Around):
    """Does something to the images first."""

    def __init__(self, change: Callable[[Tensor], Tensor], model: nn.Module | None = None) -> None:
        super().__init__(model or plain())
        self.change = change

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.change(images))


class After(Around):
    """Does something to the logits."""

    def __init__(self, change: Callable[[Tensor], Any], model: nn.Module | None = None) -> None:
        super().__init__(model or plain())
        self.change = change

    def forward(self, images: Tensor) -> Any:
        return self.change(super().forward(images))


def mixed_precision() -> nn.Module:
    network = plain()
    network[4].bfloat16()  # type: ignore[index]
    return After(lambda logits: logits, network)


class Buffers(nn.Module):
    """A linear network without parameters."""

    def __init__(self, registered: bool) -> None:
        super().__init__()
        weight, bias = (parameter.detach() for parameter in linear().parameters())
        if registered:
            self.register_buffer("weight", weight)
            self.register_buffer("bias", bias, persistent=False)
            self.register_buffer("nothing", None)
        else:
            self.weight, self.bias = weight, bias

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(images.flatten(1), self.weight, self.bias)


def odd(**methods: Any) -> nn.Module:
    """The plain network in a wrapper with these methods."""
    network: nn.Module = type("Odd", (Around,), methods)(plain())
    return network


def raising(error: Exception) -> Callable[..., None]:
    def method(*_arguments: Any, **_named: Any) -> None:
        raise error

    return method


class ReturnsNothing(Around):
    """Overridden methods that return nothing, where torch's return the network."""

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)

    def to(self, *arguments: Any, **named: Any) -> None:  # type: ignore[override]
        super().to(*arguments, **named)

    def float(self) -> None:  # type: ignore[override]
        super().float()


class PlainList(nn.Module):
    """An ensemble whose members neither eval() nor to() reaches."""

    def __init__(self, *members: nn.Module) -> None:
        super().__init__()
        self.members = list(members)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members]).mean(0)


def in_place(images: Tensor) -> Tensor:
    return images.sub_(0.5).div_(0.5).mul_(0.5).add_(0.5)


def large_offset(logits: Tensor) -> Tensor:
    return logits + 100


def blacken(images: Tensor) -> Tensor:
    images[..., 0] = 0
    return images


# Networks whose answer depends on more than the image, or that look robust.


def batch_statistics() -> nn.Module:
    return trained(lambda: sequence(nn.BatchNorm2d(8, track_running_stats=False)))


class Remembers(Around):
    """Subtracts the mean of the images that it saw before."""

    mean: Tensor | float = 0.0

    def forward(self, images: Tensor) -> Tensor:
        before, self.mean = self.mean, images.detach().mean()
        return super().forward(images - before)


# Networks that do not work.


class Raises(Around):
    """Raises an error in its forward pass, from one of its passes on."""

    def __init__(self, error: BaseException, first: int = 1) -> None:
        super().__init__(plain())
        self.error, self.first = error, first
        self.passes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.passes.append(len(images))
        if len(self.passes) >= self.first:
            raise self.error
        return super().forward(images)

    def __deepcopy__(self, _memo: Any) -> "Raises":
        return self


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class OwnExit(BaseException):
    """An exception that `except Exception` does not catch."""


class WithoutInit(nn.Module):
    def __init__(self) -> None:
        self.layer = nn.Linear(64, 10)


def holds_lock() -> nn.Module:
    network = plain()
    network.lock = threading.Lock()  # type: ignore[assignment]
    return network


class Under(Around):
    """Computes its logits in a context."""

    def __init__(self, context: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__(plain())
        self.context = context

    def forward(self, images: Tensor) -> Tensor:
        with self.context():
            return super().forward(images)


class ShrinksWeights(Around):
    """Changes its own weights with every pass."""

    @torch.no_grad()
    def shrink(self) -> None:
        for parameter in self.model.parameters():
            parameter.mul_(0.999)

    def forward(self, images: Tensor) -> Tensor:
        self.shrink()
        return super().forward(images)


class _OwnBackward(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, gradient_of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        context.save_for_backward(images)
        context.gradient_of = gradient_of
        return images.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        return context.gradient_of(*context.saved_tensors, gradients[0]), None


class OwnBackward(Around):
    """Passes images on; a function of them and of their gradient gives the gradient."""

    def __init__(self, gradient_of: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(plain())
        self.gradient_of = gradient_of

    def forward(self, images: Tensor) -> Tensor:
        passed: Tensor = _OwnBackward.apply(images, self.gradient_of)  # type: ignore[no-untyped-call]
        return super().forward(passed)


def not_implemented(_images: Tensor, _gradient: Tensor) -> Tensor:
    raise LookupError("backward is not implemented")


def nan_where_moved(images: Tensor, gradient: Tensor) -> Tensor:
    """The first pixel of a digit is black; where it is not, the gradient is no number."""
    return gradient.masked_fill(images[:, :1, :1, :1] > 0, float("nan"))


def quantized() -> Any:
    return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear}, dtype=torch.qint8)


def one_hot(logits: Tensor) -> Tensor:
    return F.one_hot(logits.argmax(1), 10).float()


class NotFiniteWhereBright(Around):
    def forward(self, images: Tensor) -> Tensor:
        bright = images.mean((1, 2, 3)) > 0.36
        return super().forward(images) / (~bright).float()[:, None]


EVALUATED: dict[str, Callable[[], object]] = {
    "plain": plain,
    "linear": linear,
    "half": lambda: plain().half(),
    "mixed_precision": mixed_precision,
    "double_logits": lambda: After(lambda logits: logits.double()),
    "logits_about_100": lambda: After(large_offset),
    "normalizes_in_place": lambda: Before(in_place),
    "writes_into_images": lambda: Before(blacken),
    "buffers_alone": lambda: Buffers(registered=True),
    "no_state": lambda: Buffers(registered=False),
    "frozen": lambda: plain().requires_grad_(False),
    "returns_nothing": lambda: ReturnsNothing(plain()),
    "extra_state": lambda: odd(get_extra_state=lambda _self: {"version": "3"}, set_extra_state=lambda *_: None),
    "data_parallel": lambda: nn.DataParallel(plain()),
    "compiled": lambda: torch.compile(plain(), backend="eager"),
    "scripted": lambda: torch.jit.script(plain()),
    "members_in_a_list": lambda: PlainList(plain().requires_grad_(False), plain()),
    "in_training_mode": lambda: plain().train(),
}


FLAGGED: dict[str, tuple[Callable[[], object], str]] = {
    "batch_statistics": (batch_statistics, "check 12: the logits of an image depend on its batch"),
    "noise_of_numpy": (
        lambda: Before(lambda images: images + torch.from_numpy(0.1 * np.random.rand(8, 8)).float()),
        "check 2: two forward passes differ",
    ),
    "remembers": (lambda: Remembers(plain()), "check 12"),
    "ignores_the_image": (lambda: Before(lambda images: images * 0), "check 6"),
    "infinite_gradient_under_attack": (lambda: OwnBackward(nan_where_moved), "check 4"),
}

REFUSED: dict[str, tuple[Callable[..., object], str]] = {
    "five_classes": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), "returns 2 x 5 for 2 images"),
    "colour_only": (lambda: nn.Conv2d(3, 10, 8), "fails on images of 1 x 8 x 8: RuntimeError"),
    "tuple": (lambda: After(lambda logits: (logits, logits)), "returns tuple for 2 images"),
    "dictionary": (lambda: After(lambda logits: {"logits": logits}), "returns dict for 2 images"),
    "mean_of_the_batch": (lambda: After(lambda logits: logits.mean(0, keepdim=True)), "returns 1 x 10 for 2 images"),
    "array": (lambda: After(lambda logits: logits.detach().numpy()), "returns ndarray for 2 images"),
    "not_finite": (lambda: After(lambda logits: logits * float("nan")), "logits are not finite"),
    "not_finite_where_bright": (lambda: NotFiniteWhereBright(plain()), "logits are not finite for"),
    "whole_numbers": (lambda: After(lambda logits: logits.long()), "returns torch.int64"),
    "complex_logits": (lambda: After(lambda logits: logits + 0j), "returns torch.complex64"),
    "autocast": (lambda: Under(lambda: torch.autocast("cpu", torch.bfloat16)), "returns torch.bfloat16"),
    "casts_images": (lambda: Before(lambda images: images.half()), "fails on images of 1 x 8 x 8: RuntimeError"),
    "one_hot_answers": (lambda: After(one_hot), "no gradient with respect to the images"),
    "no_grad": (lambda: Under(torch.no_grad), "no gradient with respect to the images"),
    "inference_mode": (lambda: Under(torch.inference_mode), "no gradient with respect to the images"),
    "numpy": (
        lambda: Before(lambda images: torch.from_numpy(images.detach().numpy() ** 2)),
        "no gradient with respect to the images",
    ),
    "quantized": (quantized, "no gradient with respect to the images"),
    "infinite_gradient": (lambda: Before(lambda images: images.sqrt()), "is not finite"),
    "failing_backward": (lambda: OwnBackward(not_implemented), "backward is not implemented"),
    "counts_calls": (lambda: Counts(plain()), "changed the network's state"),
    "shrinks_weights": (lambda: ShrinksWeights(plain()), "changed the network's state"),
    "one_image_fails": (
        lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, track_running_stats=False), nn.Linear(64, 10)),
        "fails on a single image: ValueError: Expected more than 1 value per channel",
    ),
    "fixed_batch": (lambda: Before(lambda images: images.view(500, 1, 8, 8)), "fails on images of 1 x 8 x 8"),
    "on_no_device": (lambda: plain().to("meta"), "the network"),
    "two_arguments": (
        lambda: odd(forward=lambda self, images, mask: self.model(images * mask)),
        "missing 1 required positional argument: 'mask'",
    ),
    "needs_an_argument": (lambda width: nn.Linear(width, 10), "missing 1 required positional argument: 'width'"),
    "number": (lambda: 3, "returned int; it must return a torch.nn.Module"),
    "class": (lambda: Around, "returned type; it must return a torch.nn.Module"),
    "nothing": (lambda: None, "returned NoneType; it must return a torch.nn.Module"),
    "failing_constructor": (
        raising(ValueError("the file config.yaml is missing")),
        "ValueError: the file config.yaml is missing (" + __file__,
    ),
    "exits_at_once": (sys.exit, "SystemExit"),
    "without_init": (WithoutInit, "AttributeError: cannot assign module before Module.__init__() call"),
    "without_forward": (nn.Module, "NotImplementedError"),
    "recursive": (lambda: odd(forward=lambda self, images: self(images)), "RecursionError"),
    "unhashable": (lambda: odd(__eq__=lambda self, other: self is other, __hash__=None), "TypeError: unhashable type"),
    "refuses_mode": (
        lambda: odd(train=raising(NotImplementedError("calling train() is not supported"))),
        "calling train() is not supported",
    ),
    "refuses_state": (
        lambda: odd(state_dict=raising(PermissionError("the weights are confidential"))),
        "PermissionError: the weights are confidential",
    ),
    "holds_lock": (holds_lock, "cannot be copied: TypeError: cannot pickle '_thread.lock' object"),
    "refuses_copies": (
        lambda: odd(__deepcopy__=raising(TypeError("there can be only one"))),
        "cannot be copied: TypeError: there can be only one",
    ),
    "too_large": (lambda: Before(lambda images: images + torch.zeros(2**45)), "RuntimeError"),
    "raises": (lambda: Raises(ValueError("no such layer")), "ValueError: no such layer"),
    "raises_in_attack": (lambda: Raises(KeyError("block7"), 40), "KeyError: 'block7'"),
    "exits": (lambda: Raises(SystemExit(0)), "SystemExit: 0"),
    "exits_in_attack": (lambda: Raises(SystemExit(0), 40), "SystemExit: 0"),
    "own_exit": (lambda: Raises(OwnExit("enough")), "OwnExit: enough"),
    "unprintable": (lambda: Raises(UnprintableError()), "UnprintableError"),
}

NETWORKS: dict[str, Row] = {
    **{name: Row(make, "evaluated") for name, make in EVALUATED.items()},
    **{name: Row(make, "flagged", words) for name, (make, words) in FLAGGED.items()},
    **{name: Row(make, "refused", words) for name, (make, words) in REFUSED.items()},
}


def __getattr__(name: str) -> Callable[[], object]:
    """Return the maker of a row's network."""
    try:
        return NETWORKS[name].make
    except KeyError:
        raise AttributeError(name) from None

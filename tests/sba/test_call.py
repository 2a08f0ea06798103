"""Calls with wrong arguments and models that return no logits: errors with the allowed types and the given one."""

from typing import Any

import pytest
import torch
from networks.sba_cases import batch, generator, make, network
from torch import Tensor

X, Y = batch()


def square(z: Tensor, _targets: object) -> Tensor:
    return z.square().mean()


CLASSES = r"^targets must be class indices, int64 \(8,\)"
EITHER = CLASSES + r", or probabilities, floating point \(8, 4\)"
WRONG_CALLS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"inputs": {}}, {}, r"^inputs must be a tensor \(N, ...\) .* or a tuple, list or dict .* got a dict\.$"),
    ({"inputs": torch.rand(0, 4)}, {}, r"^inputs must be a tensor .* got float32 \(0, 4\)"),
    (
        {"inputs": (X, torch.arange(3))},
        {},
        r"^inputs must have a row for each of the 8 examples .* got a tuple of float32 \(8, 4\), int64 \(3,\)",
    ),
    ({"targets": Y[:7]}, {}, r"^targets must have a row for each of the 8 examples in every tensor, got int64 \(7,\)"),
    ({"targets": Y.int()}, {}, EITHER + r".* got int32 \(8,\)"),
    ({"targets": (Y, Y)}, {}, EITHER + ", for the default criterion; others need criterion=, got a tuple"),
    ({"targets": torch.rand(8, 3)}, {}, EITHER + r".* got float32 \(8, 3\)"),
    ({"targets": Y[:, None]}, {}, EITHER + r".* got int64 \(8, 1\)"),
    ({"targets": (Y, Y), "criterion": square}, {"label_mix": 0.5}, EITHER + ", for label_mix above 0, got a tuple"),
    (
        {"targets": torch.rand(8, 4), "criterion": square},
        {"soft_label": "dark_knowledge"},
        CLASSES + ", for soft_label 'dark_knowledge', got float32",
    ),
    ({"model": network().forward}, {}, "^model must be a torch.nn.Module, got a method"),
    ({"generator": None}, {}, "^generator must be a torch.Generator of the CPU, got None"),
    ({"criterion": "mse"}, {}, r"^criterion must be a function of \(logits, targets\), got a str"),
    ({"forward": 1}, {}, r"^forward must be a function of \(model, inputs\) or None, got a int"),
]


@pytest.mark.parametrize(("arguments", "settings", "message"), WRONG_CALLS)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_wrong_argument_is_refused(
    arguments: dict[str, Any], settings: dict[str, Any], message: str, p: float
) -> None:
    model = network()
    with pytest.raises(ValueError, match=message):
        make(p=p, **settings)(**{"model": model, "inputs": X, "targets": Y, "generator": generator(), **arguments})
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("classes", "found"), [(4, "a tuple of float32"), (1, r"float32 \(\d+, 1\)")])
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_model_that_returns_no_logits_is_refused(classes: int, found: str, p: float) -> None:
    model = network(classes=classes)
    if classes > 1:
        model.register_forward_hook(lambda _module, inputs, logits: (logits, *inputs))
    message = rf"must return logits \(\d+, classes, ...\), one tensor .* it returned {found}.* Pass forward="
    with pytest.raises(ValueError, match=message):
        make(p=p)(model, X, Y, generator=generator())


def test_dark_knowledge_of_two_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 3 classes or more, the model has 2"):
        make(soft_label="dark_knowledge")(network(classes=2), X, Y % 2, generator=generator())


def test_a_step_works_in_inference_mode() -> None:
    with torch.inference_mode():
        inside = make()(network(), X, Y, generator=generator()).loss
    torch.testing.assert_close(inside.clone(), make()(network(), X, Y, generator=generator()).loss.detach())

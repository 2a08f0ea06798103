"""Networks: normalised inside, seeded outside the global generator, as published."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.networks.build import Normalize, build_model, state_dict_hash, weights_hash
from benchmark.networks.catalogue import NETWORKS
from benchmark.networks.fast import whitening_filters
from benchmark.networks.flops import forward_flops
from benchmark.runtime.errors import RunError, UsageError
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.names import Row

SIZES = dict.fromkeys(NETWORKS, (3, 32)) | {"small": (1, 8), "fast_64": (3, 64)}  # channels and pixels


def images(name: str, n: int = 64) -> torch.Tensor:
    channels, pixels = SIZES[name]
    draws = torch.Generator().manual_seed(0)
    smooth = torch.rand(n, channels, pixels // 4, pixels // 4, generator=draws)
    return nn.functional.interpolate(smooth, scale_factor=4.0, mode="bilinear").mul(255).to(torch.uint8)


@functools.cache
def built(name: str) -> nn.Module:
    """A network of ten classes in evaluation mode, for tests that do not change it."""
    return build_model(name, images(name), 10, seed=0).eval()


@pytest.mark.parametrize("name", sorted(SIZES))
def test_the_first_layer_normalises_with_the_training_images_statistics(name: str) -> None:
    x, model = images(name), built(name)
    first = next(iter(model.children()))
    assert isinstance(first, Normalize)
    normalised = first(x.float() / 255)
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(x.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.std((0, 2, 3)), torch.ones(x.shape[1]), atol=1e-3, rtol=0)
    assert model(x[:2].float() / 255).shape == (2, 10)


@pytest.mark.parametrize("name", SIZES)
def test_a_channel_that_is_constant_is_divided_by_one(name: str) -> None:
    x = images(name)
    x[:, 0] = 37
    model = build_model(name, x, 3, seed=0).eval()
    assert next(model.children()).get_buffer("std").flatten()[0] == 1
    assert model(x[:2].float() / 255).isfinite().all()


def test_normalisation_and_whitening_come_from_images_of_every_class() -> None:
    dark = images("fast", 3000) // 4
    by_class = torch.cat([dark, 255 - dark])  # as an image folder has them
    first = next(build_model("fast", by_class, 2, seed=0).children())
    assert isinstance(first, Normalize)
    mean = by_class.float().div(255).mean((0, 2, 3))
    torch.testing.assert_close(first.get_buffer("mean").flatten(), mean, atol=0.01, rtol=0)


@pytest.mark.parametrize("name", sorted(SIZES))
def test_initial_weights_depend_on_their_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_model(name, images(name), 3, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert weights_hash(first) == weights_hash(build_model(name, images(name), 3, seed=5))
    assert weights_hash(first) != weights_hash(build_model(name, images(name), 3, seed=6))


ODD = {
    "bfloat16": torch.arange(6.0).bfloat16(),
    "complex": torch.arange(6) * (1 + 2j),
    "conjugate": (torch.arange(6) * (1 + 2j)).conj(),
    "sparse": torch.eye(6).to_sparse(),
    "a number": torch.tensor(5.0),
    "empty": torch.empty(0, 3),
    "transposed": torch.arange(6.0).view(2, 3).T,
}


@pytest.mark.parametrize("name", ODD)
def test_weights_of_any_type_and_layout_have_a_hash(name: str) -> None:
    value = ODD[name]
    found = state_dict_hash({"weight": value, "extra state": 5})
    assert found == state_dict_hash({"weight": value.clone()})
    assert found != state_dict_hash({"other": value})
    if name in ("a number", "transposed"):  # as records have it: the names and the values' bytes in C order
        assert found == hashlib.sha256(b"weight" + value.contiguous().numpy().tobytes()).hexdigest()[:16]
    if value.numel():
        assert found != state_dict_hash({"weight": value * 2 + value})


def test_every_network_has_the_layers_that_the_presets_name() -> None:
    for name in SIZES:
        layers = dict(built(name).named_modules())
        assert {"stem", "block1", "block2", "head"} <= layers.keys()


def test_fast_conv_differs_from_fast_in_its_learned_stem_alone() -> None:
    fast, conv = built("fast"), built("fast_conv")
    shapes = [
        {name: p.shape for name, p in model.named_parameters() if not name.startswith("stem")} for model in (fast, conv)
    ]
    assert shapes[0] == shapes[1]
    assert not any(p.requires_grad for p in fast.get_submodule("stem").parameters())
    learned = {name: tuple(p.shape) for name, p in conv.get_submodule("stem").named_parameters() if p.requires_grad}
    assert learned == {"0.weight": (24, 3, 3, 3), "1.weight": (24,), "1.bias": (24,)}


def test_fast_64_costs_on_64_pixels_little_more_than_fast_on_32_and_its_stem_loses_nothing() -> None:
    fast, fast_64 = built("fast"), built("fast_64")
    small, large = (images(name)[:1].float() / 255 for name in ("fast", "fast_64"))
    flops = forward_flops(fast_64, large)
    assert forward_flops(fast, small) <= flops < 1.25 * forward_flops(fast, small)
    assert flops < 0.3 * forward_flops(fast, large)
    (convolution, _) = fast_64.get_submodule("stem").children()
    assert isinstance(convolution, nn.Conv2d)
    filters = convolution.weight[:12].flatten(1)  # (12, 12), and their negatives behind them
    patches = nn.functional.unfold(large, 2, stride=2)  # (1, 12, 32 * 32)
    found = torch.linalg.solve(filters, convolution(large)[:, :12].flatten(2))
    torch.testing.assert_close(found, patches, atol=1e-4, rtol=0)


def test_preact_resnet18_has_the_published_size() -> None:
    # kuangliu/pytorch-cifar counts 11,171,146 without the last BatchNorm (2 x 512)
    assert sum(p.numel() for p in built("preact_resnet18").parameters()) == 11_171_146 + 1024


def test_resnet50_is_torchvisions_with_our_names() -> None:
    ensure_importable()
    from torchvision.models import resnet50

    x = images("resnet50")
    model = build_model("resnet50", x, 1000, seed=0)
    assert sum(p.numel() for p in model.parameters()) == 25_557_032  # torchvision's page
    theirs = resnet50(weights=None, num_classes=1000)
    stages = {"block1": "layer1", "block2": "layer2", "block3": "layer3", "block4": "layer4", "stem.0": "conv1"}
    for ours, name in (stages | {"stem.1": "bn1", "head.2": "fc"}).items():
        theirs.get_submodule(name).load_state_dict(model.get_submodule(ours).state_dict())
    normalize = next(iter(model.children()))
    batch = x[:2].float() / 255
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(batch), theirs.eval()(normalize(batch)))


def test_whitened_patches_are_uncorrelated_with_unit_variance() -> None:
    x = images("fast").float().div(255).sub(0.5)
    x = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    outputs = nn.functional.conv2d(x, whitening_filters(x)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(outputs), torch.eye(12), atol=0.2, rtol=0)
    largest = torch.cov(outputs)[:3, :3]  # small eigenvalues are damped by the added constant
    torch.testing.assert_close(largest, torch.eye(3), atol=0.02, rtol=0)


def test_the_whitening_stem_is_frozen_and_symmetric() -> None:
    weight = built("fast").get_parameter("stem.0.weight")
    assert not weight.requires_grad
    assert torch.equal(weight[:12], -weight[12:])


# Rows that do not work: the function of a row, and parts of the message.


def sequence(normalize: nn.Module, images: Tensor, outputs: int, *more: nn.Module) -> nn.Module:
    return nn.Sequential(normalize, nn.Flatten(), nn.Linear(images[0].numel(), outputs), *more)


class Changed(nn.Module):
    """The logits of a network, changed by a function."""

    def __init__(self, change: Callable[[Tensor], Any], *parts: Any) -> None:
        super().__init__()
        self.network, self.change = sequence(*parts), change

    def forward(self, images: Tensor) -> Any:
        return self.change(self.network(images))


def raising(*_arguments: object) -> Any:
    raise KeyError("width")


WRONG: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "one_logit_more": (lambda n, c, x: sequence(n, x, c + 1), ("returns 2 x 6 for 2 images", "has 5 classes", "2 x 5")),
    "one_logit_less": (lambda n, c, x: sequence(n, x, c - 1), ("returns 2 x 4 for 2 images", "must return 2 x 5")),
    "maps": (lambda n, c, x: nn.Sequential(n, nn.Conv2d(x.shape[1], c, 1)), ("returns 2 x 5 x 8 x 8",)),
    "tuple": (lambda n, c, x: Changed(lambda y: (y, None), n, x, c), ("returns tuple for 2 images", "2 x 5 logits")),
    "mean": (lambda n, c, x: Changed(lambda y: y.mean(0, keepdim=True), n, x, c), ("returns 1 x 5 for 2 images",)),
    "double": (lambda n, c, x: Changed(Tensor.double, n, x, c), ("returns torch.float64",)),
    "detached": (lambda n, c, x: Changed(Tensor.detach, n, x, c), ("no gradient with respect to the images",)),
    "infinite": (lambda n, c, x: Changed(lambda y: y / 0, n, x, c), ("its logits are not finite",)),
    "one_image": (
        lambda n, c, x: sequence(n, x, c, nn.BatchNorm1d(c, track_running_stats=False)),
        ("fails on a single image", "ValueError: Expected more than 1 value per channel"),
    ),
    "colour_only": (lambda n, c, _: nn.Sequential(n, nn.Conv2d(3, c, 8)), ("fails on images of 1 x 8 x 8",)),
    "nothing": (lambda *_: None, ("returned NoneType", "a function (normalize, classes, images) -> torch.nn.Module")),
    "two_arguments": (lambda _, __: None, ("cannot be built as a function (normalize, classes, images)", "TypeError")),
    "raising": (raising, ("cannot be built", "KeyError: 'width'", f"({__file__}, line ")),
    "raising_later": (lambda n, c, x: Changed(raising, n, x, c), ("fails on images", f"({__file__}, line ")),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_row_that_makes_no_network_for_the_data_is_refused_by_its_name(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, parts = WRONG[wrong]
    monkeypatch.setitem(NETWORKS, "mine", Row("networks:mine", "wrong"))
    monkeypatch.setattr("benchmark.networks.build.look_up", lambda *_: function)
    with pytest.raises((UsageError, RunError)) as refused:
        build_model("mine", images("small"), 5, seed=0)
    said = str(refused.value)
    assert said.startswith("network 'mine' (networks:mine)")
    assert not [part for part in parts if part not in said], said

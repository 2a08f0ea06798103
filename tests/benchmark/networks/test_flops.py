"""Costs, counted by hand on a network small enough for it."""

from collections import OrderedDict

import torch
from torch import nn

from benchmark.networks.flops import forward_flops, training_flops


def network() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(2, 4, 3, padding=1, bias=False),
            norm=nn.BatchNorm2d(4),
            flat=nn.Flatten(),
            head=nn.Linear(4 * 5 * 5, 3),
        )
    )


CONV = 2 * (2 * 4 * 3 * 3) * 5 * 5  # a multiply-add is 2
HEAD = 2 * (4 * 5 * 5 * 3)


def test_forward_flops_are_those_counted_by_hand() -> None:
    assert forward_flops(network(), torch.rand(1, 2, 5, 5)) == CONV + HEAD


def test_training_flops_of_an_image_are_forward_and_backward() -> None:
    # backward: the head's weights and inputs; the convolution's weights only, because images need no gradient
    assert training_flops(network(), torch.rand(1, 2, 5, 5)) == {None: (CONV + HEAD) + 2 * HEAD + CONV}


def test_a_virtual_sample_costs_what_lies_above_its_layer() -> None:
    image, model = torch.rand(1, 2, 5, 5), network()
    flops = training_flops(model, image, ["norm", "input", None])
    assert flops["norm"] == 3 * HEAD
    assert flops["input"] == flops[None]


def test_counting_leaves_the_network_as_it_was() -> None:
    model = network().train()
    before = [value.clone() for value in model.state_dict().values()]
    training_flops(model, torch.rand(1, 2, 5, 5), ["norm"])
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
    assert not any(module._forward_hooks for module in model.modules())

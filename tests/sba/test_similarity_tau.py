"""The similarity_tau of the arm `sba_similarity`: the rule in sba/README.md, and its value from training images."""

import math

import pytest
import torch
from torch import Tensor, nn

from benchmark.data.load import Data, data_roots, load_data, to_float
from benchmark.networks.build import build_model
from benchmark.settings.preset import DataSettings
from sba import SBA
from sba.vicinity import distances, virtual_activations

ARM = SBA(layers=("stem", "block1", "block2"), noise=0.5, noise_jitter=0.5, similarity_tau=0.5)


def distances_of(data: Data, network: str) -> Tensor:
    """Return distances d (layers * draws * images,) of virtual activations around those of training images."""
    model, found = build_model(network, data.sample, data.classes, seed=0), []
    assert isinstance(model, nn.Sequential)
    with torch.no_grad():
        activation = to_float(data.sample[:500])
        for name, layer in model.named_children():
            activation = layer(activation)
            for seed in range(10) if name in ARM.layers else ():
                found.append(distances(activation, virtual_activations(activation, 2 * seed, ARM)))
    assert len(found) == 10 * len(ARM.layers)
    return torch.cat(found)


def assert_median_is_tau(found: Tensor) -> None:
    """Check that the median distance is tau to two decimals, and the median and mean weight those of the card.

    15,000 draws from U(0.25, 0.75): the standard error of their median is 0.002, that of the mean weight 0.0014.
    """
    tau = ARM.similarity_tau
    assert tau is not None
    assert float(found.median()) == pytest.approx(tau, abs=0.01)
    weights = torch.exp(-(found**2) / (2 * tau**2))
    assert float(weights.median()) == pytest.approx(math.exp(-0.5), abs=0.012)
    assert float(weights.mean()) == pytest.approx(0.606, abs=0.008)


def test_tau_is_the_median_distance_on_digits(digits: Data) -> None:
    assert_median_is_tau(distances_of(digits, "small"))


def test_tau_is_the_median_distance_on_the_training_images_of_cifar10() -> None:
    roots = [root for root in data_roots(None) if (root / "cifar-10-batches-py").is_dir()]
    if not roots:
        pytest.skip("no folder cifar-10-batches-py; SBA_DATA_ROOT names the one that holds it")
    assert_median_is_tau(distances_of(load_data(DataSettings(dataset="cifar10"), roots), "fast"))

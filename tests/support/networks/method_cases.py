"""A small network, batch and settings that every method can be tried on."""

from typing import Any

import torch
from torch import Tensor, nn

SETTINGS: dict[str, dict[str, Any]] = {
    "manifold_mixup": {"layers": ("input", "1", "3")},
    "sba": {"layers": ("1", "3"), "p": 1.0},
    "sba_mixup": {"layers": ("1", "3"), "p": 1.0},
}


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(32, 4),
        )  # fmt: skip


def batch(n: int = 16) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % 4
    return torch.rand(n, 3, 6, 6, generator=draws) * 0.2 + labels[:, None, None, None] * 0.2, labels


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

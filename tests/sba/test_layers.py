"""Layers by name, in networks that are wrapped or not, and layers behind which no virtual sample can join the batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from networks.sba_cases import batch, generator, traces
from processes.process_groups import in_process_group
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sba import SBA


def nested() -> nn.Sequential:
    model = nn.Sequential()
    model.add_module("stem", nn.Linear(4, 4))
    model.add_module("stage", nn.Sequential(nn.Tanh(), nn.Linear(4, 3)))
    return model


def test_layers_have_the_networks_own_names_in_every_wrapper(tmp_path: Path) -> None:
    def work() -> None:
        model = nested()
        wrapped: list[Any] = [model, DistributedDataParallel(model), torch.compile(model, backend="eager")]
        wrapped += [torch.compile(wrapped[1], backend="eager"), DistributedDataParallel(wrapped[2])]
        for outer in wrapped:
            SBA(layers=("stem", "stage", "stage.0", "stage.1", "input")).check(outer)
            with pytest.raises(ValueError, match="no layer 'stage2'"):
                SBA(layers=("stage2",)).check(outer)

    in_process_group(tmp_path, work)


@pytest.mark.parametrize(
    ("unknown", "near"),
    [
        ("stems", "Did you mean 'stem'"),
        ("stage.2", "Did you mean 'stage.[01]'"),
        ("inptu", "Did you mean 'input'"),
        ("module.stem", "Its top layers are: stem, stage"),
        ("_orig_mod.stem", "Its top layers are: stem, stage"),
    ],
)
def test_an_unknown_layer_is_refused_with_near_names_by_the_check_and_at_the_first_step(
    unknown: str, near: str
) -> None:
    model, sba = nested(), SBA(layers=("stem", unknown), p=1.0, warmup_steps=1000)
    with pytest.raises(ValueError, match=rf"no layer '{unknown}'.*{near}"):
        sba.check(model)
    with pytest.raises(ValueError, match=rf"no layer '{unknown}'"):
        sba(model, *batch(), generator=generator())


def test_data_parallel_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="use DistributedDataParallel"):
        SBA(layers=("stem",)).check(nn.DataParallel(nested()))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_layer_of_a_torchscript_module_is_refused_with_the_way_out() -> None:
    traced = torch.jit.trace(nested(), batch()[0])
    for model in (traced, nn.Sequential(traced)):
        name = "stem" if model is traced else "0.stem"
        with pytest.raises(ValueError, match=f"'{name}' is in a TorchScript module, .* pass the original"):
            SBA(layers=(name,)).check(model)
        SBA(layers=("input",)).check(model)


class Sequence(nn.Module):
    """An LSTM, a list of layers, a layer used twice, a skip connection, a mask and a shape made from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Linear(4, 8), nn.LSTM(8, 8, batch_first=True)
        self.norm, self.twice, self.skipped = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8)])
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.pool, self.head = nn.Identity(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
        h = self.twice(self.twice(self.layers[0](self.norm(self.lstm(self.embed(x))[0]))))
        h = self.attention(h, h, h, key_padding_mask=mask)[0]
        logits: Tensor = self.head(self.pool((h + self.skipped(h)).mean(1)).reshape(len(x), 8))
        return logits


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("lstm", "'lstm' must return one floating point tensor .* it returned a tuple"),
        ("twice", "'twice' is called more than once"),
        ("layers", r"'layers' is not called in a forward pass \(a ModuleList"),
        ("norm", "could not be widened after layer 'norm': .* a mask made before it"),
        ("skipped", "could not be widened after layer 'skipped': .* a skip connection that spans the layer"),
        ("pool", "could not be widened after layer 'pool': an operation behind it still expects 6 examples"),
        ("attention.out_proj", r"'attention.out_proj' is not called"),
    ],
)
def test_a_layer_that_cannot_be_widened_is_refused_with_the_reason(layer: str, message: str) -> None:
    model, x = Sequence(), torch.randn(6, 3, 4, generator=generator())
    before = traces(model)
    with pytest.raises(ValueError, match=message):
        SBA(layers=(layer,), p=1.0)(model, x, torch.arange(6) % 4, generator=generator())
    assert traces(model) == before

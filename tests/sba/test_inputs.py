"""Networks that take several tensors and return more than logits, by `forward`; which tensors are repeated."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from networks.sba_cases import batch, divergence, generator, gradients, make, network, traces
from torch import Tensor, nn

from sba import SBA

N, TOKENS, WIDTH = 6, 5, 8


@dataclass
class Output:
    """Like a Hugging Face output: a loss and the logits."""

    loss: Tensor
    logits: Tensor


class Encoder(nn.Module):
    """Attention over tokens with a padding mask, which reaches every attention layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.first = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0, batch_first=True)
        self.second = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Output:
        padding = torch.zeros(attention_mask.shape).masked_fill(~attention_mask.bool(), -torch.inf)
        h = self.norm(self.embed(input_ids).movedim(2, 1)).movedim(1, 2)
        h = self.second(self.first(h, src_key_padding_mask=padding), src_key_padding_mask=padding)
        logits = self.head(h)
        return Output(logits.sum(), logits)


def encoder() -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Encoder()


def sentences() -> dict[str, Tensor]:
    draws = generator(5)
    ids = torch.randint(20, (N, TOKENS), generator=draws)
    mask = (torch.arange(TOKENS) < torch.randint(2, TOKENS + 1, (N, 1), generator=draws)).long()
    return {"input_ids": ids, "attention_mask": mask}


def of_sentences(model: nn.Module, inputs: Any) -> Tensor:
    logits: Tensor = model(**inputs).logits[:, 0]
    return logits


LABELS = torch.arange(N) % 4


@pytest.mark.parametrize("mode", ["joint", "originals"])
@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("layer", ["embed", "first", "second", "norm"])
def test_a_mask_beside_the_tokens_reaches_originals_and_copies(layer: str, copies: int, mode: str) -> None:
    model, inputs = encoder(), sentences()
    plain, before = copy.deepcopy(model), traces(model)
    seen: list[Tensor] = []
    handle = model.second.register_forward_pre_hook(lambda _module, given: seen.append(given[0].detach()))
    sba = make(layers=(layer,), copies=copies, noise=0.1, batchnorm=mode)
    step = sba(model, inputs, LABELS, generator=generator(), forward=of_sentences)
    handle.remove()
    step.loss.backward()
    expected = of_sentences(plain, inputs)
    if layer != "embed" or mode == "originals":  # else BatchNorm behind it sees virtual samples too
        torch.testing.assert_close(step.logits, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(list(model.buffers()), list(plain.buffers()))
    assert step.virtual == copies * N
    assert len(seen[0]) == (1 + copies) * N
    if layer != "second":
        assert not torch.equal(seen[0][N : 2 * N], seen[0][:N])
    assert traces(model) == before
    assert inputs["input_ids"].shape == (N, TOKENS)


def test_a_virtual_sample_ignores_the_tokens_that_its_original_ignores() -> None:
    inputs, losses = sentences(), []
    for padded in (0, 19):
        ids = torch.where(inputs["attention_mask"].bool(), inputs["input_ids"], padded)
        sba = make(layers=("first",), noise=0.5, noise_unit="absolute", alpha=1.0)
        model = encoder().eval()
        losses.append(sba(model, inputs | {"input_ids": ids}, LABELS, generator=generator(), forward=of_sentences).loss)
    torch.testing.assert_close(*losses)


def test_token_logits_average_over_tokens_and_padding_counts_for_nothing() -> None:
    model, inputs, seen = encoder().eval(), sentences(), list[Tensor]()
    mask = inputs["attention_mask"].bool()
    labels = torch.where(mask, inputs["input_ids"] % 4, -100)

    def of_tokens(model: nn.Module, inputs: Any) -> Tensor:
        seen.append(model(**inputs).logits.transpose(1, 2))  # (N, classes, tokens)
        return seen[-1]

    step = make(layers=("first",))(model, inputs, labels, generator=generator(), forward=of_tokens)
    z, z_m = seen[0].chunk(2)
    torch.testing.assert_close(step.loss, F.cross_entropy(z, labels) + divergence(z, z_m, labels)[mask].mean())
    assert step.logits.shape == (N, 4, TOKENS)


class Named(NamedTuple):
    """A batch with a tensor and a number."""

    x: Tensor
    epoch: int


@pytest.mark.parametrize(("layer", "p"), [("input", 1.0), ("2", 1.0), ("2", 0.0)])
def test_one_tensor_in_a_tuple_or_dict_gives_the_step_of_the_tensor_alone(layer: str, p: float) -> None:
    (x, y), losses = batch(), []
    given: list[tuple[Any, Any]] = [
        (x, None),
        ((x,), lambda model, inputs: model(*inputs)),
        ({"x": x, "scale": torch.tensor(2.0)}, lambda model, inputs: model(inputs["x"])),
        (Named(x, 3), lambda model, inputs: model(inputs.x)),
    ]
    for inputs, forward in given:
        model = network(norm=True)
        step = make(layers=(layer,), p=p)(model, inputs, y, generator=generator(), forward=forward)
        step.loss.backward()
        losses.append([step.loss.detach(), *gradients(model)])
    for other in losses[1:]:
        assert all(map(torch.equal, losses[0], other))


class Square(nn.Module):
    """As many tokens as originals and copies, with dropout below the layer: shapes leave open where examples are."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.batch_first, self.drop = batch_first, nn.Dropout(0.3)
        self.embed, self.head = nn.Embedding(20, WIDTH), nn.Linear(WIDTH, 4)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.3, batch_first=batch_first)

    def forward(self, ids: Tensor, padding: Tensor) -> Tensor:
        tokens = self.drop(self.embed(ids if self.batch_first else ids.T))
        logits: Tensor = self.head(self.layer(tokens, src_key_padding_mask=padding).mean(int(self.batch_first)))
        return logits


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("copies", [1, 2])
def test_a_layer_with_the_examples_in_dimension_1_is_refused_for_any_number_of_tokens(
    copies: int, training: bool
) -> None:
    tokens = (1 + copies) * N
    inputs = {"ids": torch.randint(20, (N, tokens), generator=generator()), "padding": torch.zeros(N, tokens)}
    for batch_first in (True, False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, sba = Square(batch_first).train(training), make(layers=("layer",), copies=copies)
            step = partial(
                sba, model, inputs, LABELS, generator=generator(), forward=lambda model, inputs: model(**inputs)
            )
            if batch_first:
                logits = step().logits
                assert training or torch.allclose(logits, model(**inputs), atol=1e-5)
            else:
                with pytest.raises(ValueError, match="where the examples are not in dimension 0"):
                    step()


@pytest.mark.parametrize("inputs", [sentences(), {"input_ids": sentences()["input_ids"]}])
def test_token_indices_have_no_vicinity_at_the_input(inputs: dict[str, Tensor]) -> None:
    message = "layer 'input' needs inputs with one floating point tensor, got a dict of int64.*embedding"
    with pytest.raises(ValueError, match=message):
        SBA(layers=("input",), p=1.0)(encoder(), inputs, LABELS, generator=generator(), forward=of_sentences)

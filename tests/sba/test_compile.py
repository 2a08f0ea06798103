"""SBA under torch.compile: a compiled network, a compiled step, and one graph, which is refused."""

import copy
from collections import Counter
from typing import Any, cast

import pytest
import torch
from networks.sba_cases import generator, gradients, image_network, images, make
from torch import Tensor, nn


class Counting:
    """A backend that counts its compilations and returns the graph as it is."""

    def __init__(self) -> None:
        self.compilations = 0

    def __call__(self, graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Any:
        self.compilations += 1
        return graph.forward


@pytest.mark.parametrize("settings", [{}, {"batchnorm": "originals", "copies": 2}, {"gradient_below": False}])
def test_a_compiled_network_follows_every_change_and_stops_compiling(settings: dict[str, Any]) -> None:
    torch._dynamo.reset()
    model, (x, y), backend = image_network(), images(), Counting()
    eager, compiled = copy.deepcopy(model), cast("nn.Module", torch.compile(model, backend=backend))
    ours = make(layers=("input", "2", "5"), p=0.75, **settings)
    theirs = copy.deepcopy(ours)
    ours.check(compiled)
    draws, expected_draws, counts, layers = generator(), generator(), [], []
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for _ in range(40):
            step, expected = ours(compiled, x, y, generator=draws), theirs(eager, x, y, generator=expected_draws)
            (step.loss / 40).backward()
            (expected.loss / 40).backward()
            torch.testing.assert_close(step.loss, expected.loss, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(step.logits, expected.logits, atol=1e-5, rtol=1e-5)
            assert (step.layer, step.virtual) == (expected.layer, expected.virtual)
            counts.append(backend.compilations)
            layers.append(step.layer)
    torch._dynamo.reset()
    assert min(Counter(layers[:20]).values()) >= 2
    assert len(set(layers[:20])) == len(set(layers[20:])) == 4
    assert counts[-1] > 0, "nothing was compiled"
    assert counts[-1] == counts[19], "it goes on compiling"
    torch.testing.assert_close(gradients(model), gradients(eager), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(list(model.buffers()), list(eager.buffers()))


# torch hides this warning of its own, but not where warnings are errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_whole_step_under_torch_compile_is_the_step_without_it() -> None:
    torch._dynamo.reset()
    (x, y), outcomes = images(), []
    for compiling in (False, True):
        model, backend = image_network(), Counting()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        sba, draws = make(layers=("input", "2", "5"), p=0.75), generator()

        def step(images: Tensor, labels: Tensor) -> Tensor:
            loss = sba(model, images * 2, labels, generator=draws).loss  # noqa: B023
            loss.backward()
            return loss.detach() / 2

        call, losses = torch.compile(step, backend=backend) if compiling else step, []
        for _ in range(8):
            optimizer.zero_grad()
            losses.append(call(x, y))
            optimizer.step()
        assert (backend.compilations > 0) == compiling
        outcomes.append([*losses, *model.state_dict().values()])
    torch._dynamo.reset()
    torch.testing.assert_close(*outcomes, atol=1e-6, rtol=1e-5)


def test_one_graph_of_a_whole_step_is_refused_with_the_way_out() -> None:
    torch._dynamo.reset()
    model, (x, y), sba, draws = image_network(), images(), make(), generator()
    step = torch.compile(lambda: sba(model, x, y, generator=draws).loss, backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="leave fullgraph False, or compile the model"):
        step()
    torch._dynamo.reset()
    assert not any(module._forward_hooks for module in model.modules())

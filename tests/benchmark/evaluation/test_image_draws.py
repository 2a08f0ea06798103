"""Draws that belong to an image: every form in which the attack packages draw, and what stays as it was."""

import contextlib
import inspect
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from benchmark.evaluation.image_draws import Draws, ImageStreams, draws
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.names import load

SEEDS = [11, 2, 93, 4, 75]
EPS = 8 / 255
FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "rand of a size": lambda x: torch.rand(x.shape),
    "rand of a list": lambda x: torch.rand([x.shape[0], x.shape[1], 1, x.shape[3]]),
    "rand of a tuple": lambda x: torch.rand(tuple(x.shape)),
    "rand of numbers": lambda x: torch.rand(*x.shape),
    "rand with options": lambda x: torch.rand(x.shape, device=x.device, dtype=torch.float64),
    "randn of a size": lambda x: torch.randn(x.shape),
    "randn of numbers": lambda x: torch.randn(*x.shape, device=x.device),
    "uniform_": lambda x: torch.empty_like(x).uniform_(-EPS, EPS),
    "uniform_ after randn_like": lambda x: torch.randn_like(x).uniform_(-EPS, EPS),
    "uniform_ of one number an image": lambda x: torch.zeros_like(x[:, :1, :1, :1]).uniform_(0, 1),
    "uniform_ without range": lambda x: torch.empty_like(x).uniform_(),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def images(n: int, channels: int = 3, height: int = 6, width: int = 4) -> Tensor:
    """Grey images in [0, 1]."""
    return torch.full((n, channels, height, width), 0.5)


def drawn(form: Callable[[Tensor], Tensor], seeds: Sequence[int], times: int = 1) -> list[Tensor]:
    """What a form of drawing gives, so many times, on images with these seeds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with ImageStreams(seeds):
            return [form(images(len(seeds))) for _ in range(times)]


@every_form
def test_a_draw_depends_on_the_images_own_seed_alone(form: Callable[[Tensor], Tensor]) -> None:
    everyone = drawn(form, SEEDS, times=3)
    for rows in ([0], [3], [4, 2, 0, 1, 3], [1, 4], [2, 2, 0]):
        some = drawn(form, [SEEDS[row] for row in rows], times=3)
        for all_of_them, few in zip(everyone, some, strict=True):
            assert torch.equal(all_of_them[rows], few)
    assert torch.equal(drawn(form, [*SEEDS, 6, 7], times=1)[0][:5], everyone[0])


@every_form
def test_images_and_repeated_draws_have_different_values(form: Callable[[Tensor], Tensor]) -> None:
    first, second = (draw.flatten(1) for draw in drawn(form, SEEDS, times=2))
    rows = [*first.tolist(), *second.tolist()]
    assert len({tuple(row) for row in rows}) == 2 * len(SEEDS)


@every_form
def test_shape_and_type_are_those_of_a_draw_without_streams(form: Callable[[Tensor], Tensor]) -> None:
    (found,) = drawn(form, SEEDS)
    plain = form(images(len(SEEDS)))
    assert (found.shape, found.dtype, found.device) == (plain.shape, plain.dtype, plain.device)


OTHERS: dict[str, Callable[[], Tensor]] = {
    "signs of a square's channels": lambda: torch.rand([3, 1, 1]),
    "one number": lambda: torch.rand([1]),
    "one number, bare": lambda: torch.rand(1),
    "no shape": lambda: torch.rand([]),
    "another number of images": lambda: torch.rand([2, 3, 6, 4]),
    "another number of images, normal": lambda: torch.randn(4, 3, 6, 4),
    "a matrix with a row an image": lambda: torch.randn(3, 10),
    "five dimensions": lambda: torch.rand(3, 3, 3, 6, 4),
    "uniform_ of three dimensions": lambda: torch.empty(3, 6, 4).uniform_(-1, 1),
    "uniform_ of another number of images": lambda: torch.empty(2, 3, 6, 4).uniform_(-1, 1),
    "whole numbers": lambda: torch.randint(0, 9, (1,)),
    "an order": lambda: torch.randperm(7),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_shapes_come_from_the_seeded_global_generator_and_so_does_all_that_is_drawn_afterwards(
    other: Callable[[], Tensor],
) -> None:
    """With three images of three channels, of which a draw of shape (3, 1, 1) is not one."""
    size = images(3).shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = [other(), other(), torch.rand(size)]
        torch.manual_seed(5)
        with ImageStreams([1, 2, 3]):
            torch.rand(size), torch.randn(size), torch.empty(size).uniform_()  # take nothing from it
            found = [other(), other()]
        found.append(torch.rand(size))
    assert all(map(torch.equal, found, expected))


def test_uniform_fills_the_tensor_itself_whatever_its_memory_format() -> None:
    plain = torch.empty(5, 3, 6, 4)
    last = torch.empty(5, 3, 6, 4).to(memory_format=torch.channels_last)
    with ImageStreams(SEEDS):
        assert plain.uniform_(-1, 1) is plain
    with ImageStreams(SEEDS):
        assert last.uniform_(-1, 1) is last
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, last)


@pytest.mark.parametrize(("low", "high"), [(-EPS, EPS), (0.0, 1.0), (0.25, 0.75), (-3.0, -2.0)])
def test_uniform_is_uniform_over_its_range(low: float, high: float) -> None:
    with ImageStreams(list(range(40))):
        by_position = torch.empty(40, 3, 16, 16).uniform_(low, high)
    with ImageStreams(list(range(40))):
        by_name = torch.empty(40, 3, 16, 16).uniform_(low, to=high)
    assert torch.equal(by_position, by_name)
    assert low <= by_position.min() < low + 0.001 * (high - low)
    assert high >= by_position.max() > high - 0.001 * (high - low)
    assert stats.kstest(by_position.flatten().numpy(), "uniform", (low, high - low)).pvalue > 0.01


def test_rand_and_randn_follow_their_laws() -> None:
    with ImageStreams(draws(7, 60).images):
        flat, bell = torch.rand(60, 3, 16, 16), torch.randn(60, 3, 16, 16)
    assert float(flat.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(flat.var()) == pytest.approx(1 / 12, rel=0.02)
    assert float(bell.mean()) == pytest.approx(0, abs=0.02)
    assert float(bell.var()) == pytest.approx(1, rel=0.02)
    assert stats.kstest(flat.flatten().numpy(), "uniform").pvalue > 0.01
    assert stats.kstest(bell.flatten().numpy(), "norm").pvalue > 0.01
    for draw in (flat, bell):
        correlations = torch.corrcoef(draw.flatten(1))[torch.triu_indices(60, 60, 1).unbind()]
        assert float(correlations.std()) == pytest.approx((3 * 16 * 16) ** -0.5, rel=0.1)
        assert float(correlations.abs().max()) < 6 * (3 * 16 * 16) ** -0.5


def test_seeds_of_an_attack_are_spread_and_repeatable() -> None:
    first, again, other = draws(2**40 + 9, 300), draws(2**40 + 9, 300), draws(10, 300)
    assert first == again
    assert first.shared == (2**40 + 9) % 2**31
    assert not set(first.images) & set(other.images)
    assert len(set(first.images)) == 300
    assert 0 <= min(first.images) < 2**31 / 10
    assert 2**31 > max(first.images) > 2**31 * 0.9
    assert first.rows([7, 0, 7]) == Draws(first.shared, [first.images[7], first.images[0], first.images[7]])


# The packages themselves.


class Watched(nn.Module):
    """A linear network of ten classes that keeps the images it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.linear = nn.Linear(3 * 8 * 8, 10)
        with torch.no_grad():
            self.linear.weight.copy_(torch.sin(torch.arange(10 * 3 * 8 * 8.0)).view(10, -1) / 10)
            self.linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        self.seen.append(x.detach().clone())
        logits: Tensor = self.linear(x.flatten(1))
        return logits


Attack = Callable[[Tensor, Tensor], Tensor]


def maker(target: str, **options: Any) -> Callable[[nn.Module], Attack]:
    """A maker of an attack of torchattacks or pyautoattack."""

    def make(model: nn.Module) -> Attack:
        ensure_importable()
        made = load(target)(model, **options)
        attack: Attack = made if callable(made) else made.perturb
        return attack

    return make


STARTS = {  # which question to the network holds the start; before it most ask about the images themselves, APGDT twice
    "torchattacks PGD": (maker("torchattacks:PGD", eps=EPS, steps=1), 0),
    "torchattacks APGD": (maker("torchattacks:APGD", eps=EPS, steps=1), 1),
    "torchattacks APGD L2": (maker("torchattacks:APGD", norm="L2", eps=0.5, steps=1), 1),
    "torchattacks APGDT": (maker("torchattacks:APGDT", eps=EPS, steps=1), 2),
    "torchattacks Square": (maker("torchattacks:Square", eps=EPS, n_queries=1), 1),
    "pyautoattack APGD": (maker("pyautoattack.autopgd_base:APGDAttack", eps=EPS, n_iter=1), 1),
    "pyautoattack APGD L2": (maker("pyautoattack.autopgd_base:APGDAttack", norm="L2", eps=0.5, n_iter=1), 1),
    "pyautoattack Square": (maker("pyautoattack.square:SquareAttack", eps=EPS, n_queries=1), 1),
    "pyautoattack Square L2": (maker("pyautoattack.square:SquareAttack", norm="L2", eps=0.5, n_queries=1), 1),
}


@pytest.mark.parametrize(("make", "at"), STARTS.values(), ids=STARTS)
def test_the_packages_start_every_image_from_its_own_draw(make: Callable[[nn.Module], Attack], at: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x = 0.2 + 0.6 * torch.rand(len(SEEDS), 3, 8, 8, generator=generator)
    starts = {}
    for streams in (True, False):
        for rows in ([0, 1, 2, 3, 4], [3, 1]):
            model = Watched()
            labels = model(x[rows]).argmax(1)
            model.seen.clear()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                attack = make(model)
                with ImageStreams([SEEDS[row] for row in rows]) if streams else contextlib.nullcontext():
                    attack(x[rows], labels)
            starts[streams, len(rows)] = model.seen[at] - x[rows]
    whole, part = starts[True, 5], starts[True, 2]
    assert whole.shape == x.shape
    assert float(whole.abs().amax((1, 2, 3)).min()) > 0
    assert torch.allclose(whole[[3, 1]], part, atol=1e-6)
    assert not torch.allclose(starts[False, 5][[3, 1]], starts[False, 2], atol=1e-6)  # it matters


HANDLED = {"torch.rand(", "torch.randn(", ".uniform_("}
DRAWN = re.compile(r"torch\.(?:rand\w*|normal|bernoulli|multinomial)\(|\.(?:uniform|normal|random|bernoulli)_\(")
USED = (
    *("torchattacks.attacks." + name for name in ("fgsm", "pgd", "apgd", "apgdt", "fab", "square")),
    *("pyautoattack." + name for name in ("autopgd_base", "fab_base", "square")),
)


@pytest.mark.parametrize("name", USED)
def test_the_packages_draw_in_no_other_way(name: str) -> None:
    ensure_importable()
    source = inspect.getsource(import_module(name))
    found = set(DRAWN.findall(source))
    only_l1 = {"torch.randn_like("} if name == "pyautoattack.autopgd_base" else set()  # of decr_eps_pgd
    assert found <= HANDLED | only_l1
    assert bool(found) == (name != "torchattacks.attacks.fgsm")
    assert not re.search(r"\bgenerator\b|np\.random|numpy\.random|\brandom\.(?:choice|sample|randint)\(", source)

"""On a GPU: the same data and draws as on a CPU, no waiting inside an epoch, same seed same record, valid attacks."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks.attacked import EVERY, RADIUS, attack_of, attacked, attacked_set, jointly, left, suite
from networks.few_attacks import FEW_ATTACKS
from networks.method_cases import batch, generator, network
from studies.tiny_study import pixels_of, read, without_times
from torch import nn

from baselines.augment import crop_and_flip
from benchmark.cli import main
from benchmark.data.load import Data, to_float
from benchmark.evaluation.attacks import FrozenModel, Radius, largest_distance, predict
from benchmark.evaluation.image_draws import draws
from benchmark.evaluation.joint import survivors
from benchmark.networks.compiled import Compiled
from benchmark.settings import methods
from benchmark.settings.plan import Run
from benchmark.speed.gpu import epoch_without_waiting
from benchmark.speed.throughput import as_data, random_images, run_of, studies
from benchmark.training.compile import warm_up
from benchmark.training.loop import OnStep, train_epoch
from benchmark.training.state import start
from sba import SBA

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    # What torch says of itself: a warning it hides, but not where warnings are errors; that its watch for waiting is a
    # prototype; that the float32 asked for could be TF32.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores"),
]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
MakeRun = Callable[..., Run]
METHODS = sorted(methods.METHODS)
SHORT = (*FEW_ATTACKS, "--set", "evaluation.eps=[16.0]", "--set", "recipe.epochs=3")
STUDIES = {preset.model.name: preset for preset in studies(CPU)}  # loaded here, so that without a GPU they are, too


def test_crops_are_those_of_a_cpu_to_the_last_bit() -> None:
    images = random_images(64, CPU).images
    here, there = (
        crop_and_flip(images.to(device), padding=4, flip=True, generator=torch.Generator().manual_seed(1))
        for device in (CPU, GPU)
    )
    assert torch.equal(here, there.cpu())
    assert torch.equal(to_float(here), to_float(there).cpu())
    assert to_float(there).is_contiguous(memory_format=torch.channels_last)


def run_on(network: str, method: str, **changes: Any) -> Run:
    preset = STUDIES[network]
    return run_of(preset.model_copy(update={"recipe": preset.recipe.model_copy(update=changes)}), method)


@pytest.mark.parametrize("network", STUDIES)
@pytest.mark.parametrize("method", METHODS)
def test_no_epoch_of_any_method_waits_for_the_device(method: str, network: str) -> None:
    run = run_on(network, method, batch_size=32, compile=False)
    train = random_images(32 * 8, GPU)
    state = start(run, as_data(train), GPU)
    train_epoch(run, state, train)
    epoch_without_waiting(run, state, train, GPU)
    assert all(bool(value.isfinite().all()) for value in state.model.parameters())


@pytest.mark.parametrize("arm", ["erm", "standard", "mixup", "sba"])
def test_training_follows_that_of_a_cpu(arm: str, make_run: MakeRun, digits: Data) -> None:
    run = make_run(arm, 0, "recipe.precision='float32'")
    here, there = start(run, digits, CPU), start(run, digits.to(GPU), GPU)
    assert here.weights_hash == there.weights_hash
    epochs = [train_epoch(run, here, digits.train), train_epoch(run, there, digits.to(GPU).train)]
    assert epochs[0]["augmented"] == epochs[1]["augmented"]
    assert here.virtual == there.virtual
    for name in ("order", "augmentation", "method"):
        assert torch.equal(here.streams[name].get_state(), there.streams[name].get_state())
    # SBA's noise is drawn on the device, so its loss is another draw's.
    assert epochs[1]["train_loss"] == pytest.approx(epochs[0]["train_loss"], rel=0.05 if arm == "sba" else 1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_gives_the_same_weights_to_the_last_bit(method: str) -> None:
    run = run_on("fast", method)
    train, weights = random_images(256 * 6, GPU), []
    for _ in range(2):
        state = start(run, as_data(train), GPU)
        train_epoch(run, state, train)
        weights.append(torch.cat([value.detach().flatten() for value in state.model.parameters()]))
    assert torch.equal(*weights)


def test_sba_that_never_augments_is_cross_entropy_to_the_last_bit() -> None:
    images, labels = (value.to(GPU) for value in batch())
    model = network().to(GPU)
    step = SBA(layers=("1",), p=0.0)(model, images, labels, generator=generator())
    assert torch.equal(step.loss, nn.functional.cross_entropy(model(images).float(), labels))


def test_noise_has_the_named_size_in_bfloat16() -> None:
    seen: list[torch.Tensor] = []

    class Probe(nn.Module):
        def forward(self, h: torch.Tensor) -> torch.Tensor:
            seen.append(h.detach().float())
            return h.flatten(1)[:, :4]

    model = nn.Sequential(nn.Identity(), Probe()).to(GPU)
    images = torch.rand(256, 3, 16, 16, device=GPU).to(torch.bfloat16, memory_format=torch.channels_last)
    SBA(layers=("0",), p=1.0, noise=0.5)(
        model, images, torch.zeros(256, dtype=torch.int64, device=GPU), generator=generator()
    )
    originals, virtual = seen[-1].chunk(2)
    assert float((virtual - originals).std()) == pytest.approx(0.5 * float(originals.std()), rel=0.02)
    assert float((virtual - originals).mean()) == pytest.approx(0.0, abs=0.01)


def test_same_command_again_in_two_workers_gives_the_same_records(fresh: Path) -> None:
    command = ["run", "smoke", "--device", "cuda", "--arms", "standard,sba", "--seeds", "0", *SHORT]
    assert main([*command, "--results", "one/results", "--runs", "one"]) == 0
    workers = [*command, "--results", "two/results", "--runs", "two", "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    subprocess.run([sys.executable, "-m", "benchmark", *workers], check=True, env=environment)
    for arm in ("standard", "sba"):
        one, two = (
            without_times(read(fresh / folder / f"results/smoke/{arm}/seed-0.json")) for folder in ("one", "two")
        )
        for record in (one, two):
            del record["environment"]["threads"]
        assert one == two
        assert one["environment"]["device"] == "cuda"


def test_an_interrupted_training_goes_on_to_the_same_weights(make_run: MakeRun, digits: Data) -> None:
    from benchmark.training.checkpoint import fill, on_cpu, snapshot

    class EnoughError(Exception):
        pass

    def leave(done: int) -> None:
        if done == 2:
            raise EnoughError

    run, data = make_run("sba"), digits.to(GPU)
    whole, begun, resumed = (start(run, data, GPU) for _ in range(3))
    epoch = train_epoch(run, whole, data.train)
    with pytest.raises(EnoughError):
        train_epoch(run, begun, data.train, [OnStep(leave)])
    fill(resumed, copy.deepcopy(on_cpu(snapshot(begun))))
    assert train_epoch(run, resumed, data.train)["train_loss"] == epoch["train_loss"]
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("name", "norm"), EVERY, ids=[f"{name}-{norm}" for name, norm in EVERY])
def test_attacks_stay_in_the_ball_and_fool_as_many_as_on_a_cpu(
    name: str, norm: str, digits_net: nn.Module, digits: Data
) -> None:
    images, labels = to_float(pixels_of(digits.test)[:96]).contiguous(), digits.test.labels[:96]
    right = []
    for device in (CPU, GPU):
        frozen = FrozenModel(copy.deepcopy(digits_net).to(device))
        x, y = images.to(device), labels.to(device)
        adversarial = attacked(frozen, name, norm, x, y)  # type: ignore[arg-type]  # checks ball, range and state
        assert largest_distance(adversarial - x, norm) <= RADIUS[norm].pixels * (1 + 1e-4)  # type: ignore[arg-type, index]
        right.append(float((predict(frozen, adversarial) == y).float().mean()))
    # Draws that all images share (APGD-T's targets start, Square's windows) come from the device's own generator.
    assert right[1] == pytest.approx(right[0], abs=0.1)


def test_joint_attacks_find_what_each_finds_alone(digits_net: nn.Module, digits: Data) -> None:
    images, labels = to_float(pixels_of(digits.test)[:96]).contiguous().to(GPU), digits.test.labels[:96].to(GPU)
    of = attacked_set(FrozenModel(copy.deepcopy(digits_net).to(GPU)), images, labels)
    names, stood = ("fgsm", "apgd_ce", "apgd_dlr", "square"), of.clean
    for outcome, name in zip(jointly(of, suite(*names)), names, strict=True):
        stood = stood & survivors(of, of.clean, Radius("Linf", 16.0), attack_of(name))
        assert torch.equal(left(outcome), stood.cpu())


def test_draws_of_an_image_are_those_of_a_cpu() -> None:
    from benchmark.evaluation.image_draws import ImageStreams

    starts = []
    for device in (CPU, GPU):
        with ImageStreams(draws(3, 8).images):
            starts.append(torch.empty(8, 3, 4, 4, device=device).uniform_(-1, 1).cpu())
    assert torch.equal(*starts)


def test_a_checkpoint_of_a_gpu_is_evaluated_on_a_cpu(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "smoke", "--device", "cuda", "--arms", "erm", "--seeds", "0", *SHORT]) == 0
    (checkpoint,) = (fresh / "runs").rglob("seed-0-*.pt")
    capsys.readouterr()
    found = []
    for device in ("cpu", "cuda"):
        output = fresh / f"{device}.json"
        assert main(["evaluate", str(checkpoint), "--device", device, *SHORT[:-2], "--output", str(output)]) == 0
        found.append(read(output)["robustness"]["attacks"][0])
    assert found[0]["attack"] == found[1]["attack"]


@pytest.mark.parametrize("method", ["erm", "sba"])
def test_a_compiled_network_computes_what_the_network_does(method: str) -> None:
    run = run_on("fast", method, batch_size=64, precision="float32")
    train = random_images(64 * 8, GPU)
    plain, other = (start(run, as_data(train), GPU) for _ in range(2))
    assert warm_up(run, other, train) > 0
    assert isinstance(other.network, Compiled)
    losses = [train_epoch(run, state, train)["train_loss"] for state in (plain, other)]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    epoch_without_waiting(run, other, train, GPU)
    torch.compiler.reset()

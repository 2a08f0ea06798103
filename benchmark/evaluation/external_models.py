"""Anyone's network, evaluated as those trained here: from a checkpoint, from a callable, or both."""

import sys
from collections.abc import Mapping, Sequence, Set
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from benchmark.data.load import Data, to_float
from benchmark.evaluation.attacks import FrozenModel
from benchmark.networks.build import build_model, device_of, eval_mode, state_dict_hash
from benchmark.networks.checks import LISTED, differences, refuse_missing_gradient, refuse_other_outputs, short
from benchmark.records.schema import CountOrZero, Record, Text
from benchmark.runtime.errors import UsageError, own_words, shorten
from benchmark.runtime.files import DamagedFileError, load_tensors
from benchmark.settings.preset import Preset
from benchmark.training.checkpoint import identity_of

FAILS = "the network cannot be evaluated"
SAVE = "Only tensors and plain values are loaded, never pickled code: save model.state_dict() with torch.save."
KEYS = ("model", "state_dict", "model_state_dict")  # under which files hold a state_dict


class TrainedRun(TypedDict, total=False):
    """The run that wrote a checkpoint, and the identity of its settings; empty where no run of this program did."""

    preset: Text
    arm: Text
    seed: CountOrZero
    identity: str


def load_weights(path: Path) -> tuple[dict[str, Tensor], TrainedRun]:
    """Return the state_dict in a file, and the run that wrote it.

    The file holds a state_dict, or a dictionary with one under "model", "state_dict" or "model_state_dict".

    Raises:
        UsageError: no such file, damaged, of another kind, or one that needs code to be loaded.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}; a run's checkpoint is in runs/<preset>/<arm>/.")
    try:
        values = load_tensors(path)
    except DamagedFileError as error:
        raise UsageError(f"{path} cannot be loaded ({shorten(str(error), 300)}). {SAVE}") from error
    weights = next((values[key] for key in KEYS if isinstance(values.get(key), dict)), values)
    if not weights or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items()):
        raise UsageError(
            f"{path} holds no state_dict, itself or under {', '.join(KEYS)}: found {_listed(list(weights))}. {SAVE}"
        )
    return weights, _run_of(values, path)


def _run_of(values: dict[str, Any], path: Path) -> TrainedRun:
    """Return the run that a checkpoint names, or refuse wrong values; a "run" without our keys is another tool's."""
    run, keys = values.get("run"), ("preset", "arm", "seed")
    if not isinstance(run, dict) or not all(key in run for key in keys):
        return TrainedRun()
    try:
        found: TrainedRun = TypeAdapter(TrainedRun).validate_python({key: run[key] for key in keys}, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise UsageError(
            f"{path} is no checkpoint of a run: its {problem['loc'][0]} is {shorten(repr(problem['input']))} "
            f"({problem['msg']}). To evaluate its weights, save its state_dict alone."
        ) from error
    return found | {"identity": identity_of(values)}


def refuse_other_weights(checkpoint: Path, weights: Mapping[str, Tensor], record: Record) -> None:
    """Compare the weights in a run's checkpoint with the hash of those that its record evaluated.

    Raises:
        UsageError: they differ, or the record has no hash.
    """
    recorded, found = record.get("final_weights_hash", ""), state_dict_hash(weights)
    if found != recorded:
        raise UsageError(
            f"{record['arm']} seed {record['seed']}: the checkpoint {checkpoint} has other weights ({found}) than the "
            f"record's ({recorded or 'not recorded'}). They are of two trainings, or of two epochs; name the "
            "folder of the right records by --results, that of the right checkpoints by --runs."
        )


class ExternalModel(nn.Module):
    """A network of other people's code, in float32, on images of its own.

    Weights in another precision are converted, and so are logits in float64. The network gets a copy of the images,
    because some networks normalize their input in place.

    Args:
        network: takes images (N, C, H, W) in [0, 1], returns logits (N, classes).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.float()
        # A network without weights has a device too: that of this buffer.
        self.register_buffer("place", torch.empty(0), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's logits."""
        logits: Tensor = self.network(images.clone())
        return logits.float() if isinstance(logits, Tensor) and logits.dtype == torch.float64 else logits


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the user's network, or a network of ours as it is."""
    return model.network if isinstance(model, ExternalModel) else model


def network(preset: Preset, data: Data, model: str | None, weights: Mapping[str, Tensor] | None) -> nn.Module:
    """Return the network to evaluate: the preset's own, or the one that `model` returns, with the weights if given.

    Args:
        preset: names the network where `model` does not.
        data: gives image size and classes.
        model: "package.module:name" of a torch.nn.Module that takes images (N, C, H, W) in [0, 1] and returns logits
            (N, classes), or of a callable without arguments that returns one.
        weights: a state_dict.

    Raises:
        UsageError: the callable or the weights do not fit.
    """
    if model is None:
        built, name = build_model(preset.model.name, data.sample, data.classes, 0), preset.model.name
    else:
        built, name = _call(model), model
    if weights is not None:
        load_into(built, weights, name)
    if model is None:
        return built
    with own_words(UsageError, FAILS):
        return ExternalModel(built)


def _call(name: str) -> nn.Module:
    """Import "package.module:name", also from the working folder; return it, or what it returns if it is no network."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(f"--model {name!r}: write it as package.module:callable, for example mine.networks:resnet.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with own_words(UsageError, f"--model {name}"):
        found = getattr(import_module(module), attribute)
        built = found if isinstance(found, nn.Module) else found()
    if not isinstance(built, nn.Module):
        raise UsageError(f"--model {name} returned {type(built).__name__}; it must return a torch.nn.Module.")
    return built


def load_into(model: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Load a state_dict, whole.

    Where all names of one side are those of the other behind the same prefix, as wrappers add it ("module." of
    DataParallel, "_orig_mod." of torch.compile, "model." or "net." of a LightningModule), the prefix is left out or
    added, and a line on the standard error names it.

    Raises:
        UsageError: names, shapes or kinds of numbers differ: the file is of another architecture.
    """
    with own_words(UsageError, f"the checkpoint cannot be loaded into {name!r}"):
        own = model.state_dict()
        fitting, prefix = _under_own_names(weights, own)
        if prefix:
            print(f"note: the names of the checkpoint and of {name} differ by the prefix {prefix!r}.", file=sys.stderr)
        if differing := differences(fitting, own):
            raise UsageError(
                f"the checkpoint is not one of network {name!r}: it {differing}. The network has {_listed(list(own))}; "
                f"the checkpoint has {_listed(list(weights))}. Name the preset that it was trained with by --preset, "
                "or its network, as it was then, by --model package.module:callable."
            )
        model.load_state_dict(fitting)


def _under_own_names(weights: Mapping[str, Tensor], own: Mapping[str, object]) -> tuple[Mapping[str, Tensor], str]:
    """Return the weights under the network's names, and the prefix by which these differed, if one explains them."""
    if weights.keys() != own.keys() and len(weights) == len(own):
        if prefix := _prefix(own.keys(), weights.keys()):
            return {name: weights[prefix + name] for name in own}, prefix
        if prefix := _prefix(weights.keys(), own.keys()):
            return {prefix + name: value for name, value in weights.items()}, prefix
    return weights, ""


def _prefix(names: Set[str], longer: Set[str]) -> str:
    """Return the prefix that makes `longer` out of `names`; empty where none does."""
    shortest = min(names, key=len)
    candidates = (name.removesuffix(shortest) for name in longer if name.endswith(f".{shortest}"))
    return next((prefix for prefix in candidates if {prefix + name for name in names} == longer), "")


def _listed(names: Sequence[object]) -> str:
    """List the first names, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(map(short, names[:LISTED])) or 'nothing'}{more}"


def refuse_unfit(model: nn.Module, data: Data) -> None:
    """Refuse a network that does not return logits (N, classes) of the data set's images, or hides their gradient.

    Raises:
        UsageError: the network fails on them, or returns something else.
        RunError: its logits are not finite.
    """
    images = to_float(data.test.pick(range(min(2, len(data.test.labels))), device_of(model)).images)
    with eval_mode(model):
        refuse_other_outputs("the network", model, images, data.classes)
    with own_words(UsageError, "the network cannot be copied"):
        frozen = FrozenModel(model, len(images))
    refuse_missing_gradient("the network", frozen.model, images)

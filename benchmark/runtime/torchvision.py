"""Make `import torchvision` work where its compiled operators cannot load.

The released torchvision wheel is compiled for CUDA. Beside a CPU build of torch its library `_C` finds no
CUDA libraries and does not load. torchvision tolerates that, but then registers shape functions for two
operators that `_C` would have defined, and its import fails: "operator torchvision::nms does not exist" (then
`qnms`). With the two schemas defined beforehand everything but the detection operators works; calling one of
those raises torchvision's own error.
"""

import functools
import importlib.machinery
import importlib.util

import torch

# As in torchvision/csrc/ops/nms.cpp and quantized/cpu/qnms_kernel.cpp.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@functools.cache
def ensure_importable() -> str:
    """Define the operator schemas that torchvision's import needs, if its compiled operators do not load.

    Return the reason why they do not load, empty if they do. Call it before the first import of torchvision, or of a
    package that imports it, such as torchattacks.
    """
    reason = _loading_error()
    if reason:
        _define_missing_schemas()
    return reason


def _loading_error() -> str:
    """Load `_C` as torchvision/extension.py does, without running the package; return the error or ""."""
    package = importlib.util.find_spec("torchvision")
    if package is None or not package.submodule_search_locations:
        return "torchvision is not installed"
    folder = package.submodule_search_locations[0]
    suffixes = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    library = importlib.machinery.FileFinder(folder, suffixes).find_spec("_C")
    if library is None or library.origin is None:
        return f"torchvision's compiled library _C is not in {folder}"
    try:
        torch.ops.load_library(library.origin)
    except OSError as error:
        return str(error.__cause__ or error)  # the cause is the linker's own sentence
    return ""


def _define_missing_schemas() -> None:
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            _library().define(schema)


@functools.cache
def _library() -> torch.library.Library:
    # torch removes the schemas when this handle is collected
    return torch.library.Library("torchvision", "FRAGMENT")

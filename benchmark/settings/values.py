"""Types of single settings with their bounds, and the base of all tables of settings."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from benchmark.runtime.errors import nearest
from benchmark.settings.names import dotted, table

# The largest values that are accepted. Numbers: float32 holds their square root times any activation.
MAX_NUMBER, MAX_IMAGES, MAX_EPOCHS, MAX_STEPS, MAX_BATCH, MAX_PIXELS = 1e30, 2**31, 1_000_000, 1_000_000, 2**16, 2**13
MAX_SEEDS, MAX_TRIALS, MAX_SEED = 1000, 1024, 2**63 - 1
MAX_NAME, MAX_TITLE = 60, 200  # characters
MIN_EPS, MAX_EPS, MAX_L2_EPS = 1e-4, 255.0, 1e4  # below the least, images in float32 would not change
MARKUP = "|<>[]`*\\"
# Windows opens a device where one of these names a folder.
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}

Contradiction = tuple[str, object, str]  # key, value, problem


def _no_device(name: str) -> str:
    if name in DEVICES:
        raise ValueError("Windows keeps this name for a device, so it can name no folder")
    return name


def _plain(title: str) -> str:
    if found := [character for character in MARKUP if character in title]:
        raise ValueError(f"a title may not have {' '.join(found)}, which mean something in a page of Markdown")
    return title


def known(kind: str) -> AfterValidator:
    """Return a validator of names that the table of a kind must have."""

    def check(name: str) -> str:
        rows = table(kind)
        if name not in rows and not (kind == "data set" and "/" in name):  # else the path of an image folder
            raise ValueError(f"there is no such {kind}; {nearest(name, rows)}")
        return name

    return AfterValidator(check)


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError("must rise, each value once")
    return values


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each one once")
    return values


Rising, Distinct, NotEmpty = AfterValidator(_rising), AfterValidator(_distinct), Field(min_length=1)

Text = Annotated[str, NotEmpty]
Title = Annotated[str, Field(min_length=1, max_length=MAX_TITLE), AfterValidator(_plain)]
Name = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=MAX_NAME), AfterValidator(_no_device)
]  # of a folder
Endpoint = Annotated[str, known("endpoint")]
Images = Annotated[int, Field(ge=1, le=MAX_IMAGES)]
ImagesOrZero = Annotated[int, Field(ge=0, le=MAX_IMAGES)]
Epochs = Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Batch = Annotated[int, Field(ge=1, le=MAX_BATCH)]
Pixels = Annotated[int, Field(ge=1, le=MAX_PIXELS)]
PixelsOrZero = Annotated[int, Field(ge=0, le=MAX_PIXELS)]
Positive = Annotated[float, Field(gt=0, le=MAX_NUMBER, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=MAX_NUMBER, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(gt=0, lt=100)]
Eps = Annotated[float, Field(ge=MIN_EPS, le=MAX_EPS)]
L2Eps = Annotated[float, Field(ge=MIN_EPS, le=MAX_L2_EPS)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MAX_SEEDS), Distinct]


def too_large(key: str, value: object) -> Iterator[Contradiction]:
    """Yield the numbers of a value of any type that no record could hold."""
    if isinstance(value, dict | list | tuple):
        for part, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from too_large(f"{key}.{dotted([part])}", item)
    elif isinstance(value, float) and not abs(value) <= MAX_NUMBER:
        yield key, value, f"must be a finite number from -{MAX_NUMBER:g} to {MAX_NUMBER:g}"


class Settings(BaseModel):
    """Base of all settings: frozen, strict types, no unknown keys, no contradictions."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    def _contradictions(self) -> Iterator[Contradiction]:
        """Yield each value that is allowed by itself but not together with the others."""
        yield from ()

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if found := list(self._contradictions()):
            raise PydanticCustomError("contradictions", "values contradict each other", {"found": found})
        return self

"""Records of one study as arrays (arm x seed), refused where they do not belong together."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.paired import Floats
from benchmark.records.consistency import name, named, refuse_mixed
from benchmark.records.outcomes import clean_accuracy, robust_curve
from benchmark.records.schema import AutoAttackRow, Record
from benchmark.runtime.errors import RunError, UsageError, nearest, own_words
from benchmark.settings.values import Endpoint

Status = Literal["done", "diverged", "missing"]


@dataclass(frozen=True, eq=False)
class Study:
    """One preset's records; accuracies in percentage points, nan where a run is missing, diverged or unattacked.

    Two studies are equal where they are the same object.

    `arms`: the treatment, the arms it is compared with, then any other, named ones also where no run exists yet.
    `seeds`: those named before the study; `unnamed` lists the runs with other seeds, which no number uses.
    `eps`: (eps,), in 1/255, from 0. `clean`: (arm, seed), on all test images after the last epoch.
    `robust`: (arm, seed, eps), on the attacked images; correct without attack and under every attack of Linf, so
    column 0 is the clean accuracy on those images. `l2_eps` and `l2_robust`: the same for L2, in pixel values of
    [0, 1]; a single column 0 where no L2 attack was made. `autoattack`: the outcomes of AutoAttack on these runs.
    """

    preset: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    unnamed: tuple[tuple[str, int], ...]
    eps: Floats
    clean: Floats
    robust: Floats
    l2_eps: Floats
    l2_robust: Floats
    records: dict[tuple[str, int], Record]
    autoattack: tuple[AutoAttackRow, ...] = ()

    def arm_settings(self, arm: str) -> dict[str, Any] | None:
        """Return method, augmentation, settings and epochs of an arm, None where it has no record."""
        return next((run["settings"]["arm"] for (name, _), run in self.records.items() if name == arm), None)

    def recipe(self, arm: str) -> dict[str, Any]:
        """Return the recipe of an arm: that of the study with what the arm has of its own."""
        own = self.arm_settings(arm) or {}
        epochs = {"epochs": own["epochs"]} if own.get("epochs") else {}
        return {**self.any_record["settings"]["recipe"], **(own.get("recipe") or {}), **epochs}

    @property
    def any_record(self) -> Record:
        """One record, for everything that all of them share."""
        return next(iter(self.records.values()))

    @property
    def analysis(self) -> dict[str, Any]:
        """The analysis that the preset named before the run: title, treatment, against, eps, margin, seeds."""
        return named(self.any_record)

    @property
    def treatment(self) -> str:
        """The arm that the others are compared with."""
        return str(self.analysis["treatment"])

    @property
    def families(self) -> tuple[tuple[str, ...], ...]:
        """The arms that the treatment is compared with: those of the claims, then its relatives, where it names any.

        Holm's correction runs within a family, because each answers a question of its own.
        """
        families = tuple(self.analysis["against"]), tuple(self.analysis["relatives"])
        return tuple(family for family in families if family)

    @property
    def against(self) -> tuple[str, ...]:
        """Every arm that the treatment is compared with, family by family."""
        return tuple(arm for family in self.families for arm in family)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints that the preset named, the primary one first."""
        return cast(tuple[Endpoint, ...], tuple(self.analysis["endpoints"]))

    def interim(self, arm: str) -> bool:
        """Return whether a run of the arm's family or of the treatment is missing: until then nothing is decided."""
        return bool(self.to_come([arm]))

    def to_come(self, arms: Collection[str]) -> int:
        """Return the number of named runs that are missing in the treatment and the families of some compared arms."""
        families = [family for family in self.families if not set(arms).isdisjoint(family)]
        return sum(len(self.seeds_with(arm, "missing")) for arm in {self.treatment}.union(*families))

    @property
    def awaits_control(self) -> bool:
        """Whether the study names a positive control that has no run yet."""
        control = self.positive_control
        return control is not None and all(arm != control for arm, _ in self.records)

    @property
    def exploratory(self) -> bool:
        """Whether the study looks for readings (an ablation) instead of testing claims: it has no verdicts."""
        return bool(self.analysis.get("exploratory", False))

    @property
    def split(self) -> str:
        """The images that were evaluated: test or validation."""
        return str(self.any_record["settings"]["evaluation"].get("split", "test"))

    def status(self, arm: str, seed: int) -> Status:
        """Whether a named run is done, diverged or missing."""
        record = self.records.get((arm, seed))
        return "missing" if record is None else record["status"]

    def seeds_with(self, arm: str, status: Status) -> list[int]:
        """Return the named seeds of an arm that are done, diverged or missing."""
        return [seed for seed in self.seeds if self.status(arm, seed) == status]

    def shared_seeds(self, arm: str) -> list[int]:
        """Return the named seeds that both the treatment and another arm finished."""
        return [seed for seed in self.seeds_with(arm, "done") if self.status(self.treatment, seed) == "done"]

    @property
    def positive_control(self) -> str | None:
        """The arm that must be robust, or the attacks or the training are broken; None where there is none."""
        return self.analysis.get("positive_control")

    def done(self, arm: str) -> list[Record]:
        """Return the finished records of an arm, by seed."""
        return [self.records[arm, seed] for seed in self.seeds_with(arm, "done")]

    def title(self, endpoint: Endpoint) -> str:
        """Return an endpoint's name in this study."""
        return self._filled(ENDPOINTS[endpoint].title)

    def short(self, endpoint: Endpoint) -> str:
        """Return an endpoint's short name in this study."""
        return self._filled(ENDPOINTS[endpoint].short or ENDPOINTS[endpoint].title)

    def _filled(self, text: str) -> str:
        named = {"eps": self.analysis["eps"], "level": self.analysis["level"], "largest": self.eps[-1]}
        return text.format(split=self.split, **named)

    def values(self, endpoint: Endpoint) -> Floats:
        """Return an endpoint as (arm, seed), in its unit; nan where a run has no value. See `ENDPOINTS`.

        Raises:
            RunError: the endpoint's function raises an error, does not return one number for each arm and seed, or
                returns an infinite one; the message names the endpoint and, if `each` called the function, the record.
        """
        try:
            with own_words(RunError, f"endpoint {endpoint!r} failed on the study {self.preset}"):
                values = np.asarray(ENDPOINTS[endpoint].values(self), dtype=np.float64)
        except _RecordError as error:
            raise RunError(f"endpoint {endpoint!r} failed on {error}") from error
        if values.shape != (len(self.arms), len(self.seeds)):
            raise RunError(
                f"endpoint {endpoint!r} must return one number for each of {len(self.arms)} arms and "
                f"{len(self.seeds)} seeds of the study {self.preset}; it returned an array of shape {values.shape}."
            )
        for arm, seed in np.argwhere(np.isinf(values)):
            raise RunError(
                f"endpoint {endpoint!r} is infinite for {self.arms[arm]} seed {self.seeds[seed]} of the study "
                f"{self.preset}; it must return nan where a run has no value."
            )
        return values

    def difference(self, endpoint: Endpoint, arm: str) -> Floats:
        """Return the treatment minus an arm on an endpoint, (seed,), in its unit; nan where one of them has no value.

        Raises:
            RunError: as `values`.
        """
        values = self.values(endpoint)
        return np.asarray(values[self.arms.index(self.treatment)] - values[self.arms.index(arm)])

    def each(self, measure: Callable[[Record], float]) -> Floats:
        """Return `measure` of every finished run as (arm, seed), nan elsewhere."""
        values = np.full((len(self.arms), len(self.seeds)), np.nan)
        for (arm, seed), record in self.records.items():
            if record["status"] == "done":
                with own_words(_RecordError, f"the record {self.preset}/{name(record)}.json"):
                    values[self.arms.index(arm), self.seeds.index(seed)] = measure(record)
        return values


class _RecordError(RunError):
    """A function of a record failed; the text has the record's path and the cause."""


def load_study(preset: str, records: list[Record], attacked: Sequence[AutoAttackRow] = ()) -> Study:
    """Arrange one preset's records as a study.

    Args:
        preset: its name.
        records: all of them.
        attacked: rows of AutoAttack; those of weights that no record has are left out.

    Raises:
        UsageError: no record, records that mix data, settings or versions or break pairing (the message
            lists what differs), an eps named that no attack used, or an unknown endpoint.
        RunError: a record whose outcomes are damaged or incomplete.
    """
    if not records:
        raise UsageError(f"study {preset} has no records. Run: python -m benchmark run {preset}")
    refuse_mixed(preset, records)
    analysis, evaluation = named(records[0]), records[0]["settings"]["evaluation"]
    eps = np.array([0.0, *sorted(float(value) for value in evaluation["eps"])])
    l2_eps = np.array([0.0, *sorted(float(value) for value in evaluation.get("l2_eps", ()))])
    if analysis["eps"] not in eps[1:]:
        raise UsageError(f"study {preset} names eps = {analysis['eps']:g}, attacked were {eps[1:].tolist()}")
    for endpoint in analysis["endpoints"]:  # a row may have changed since the runs
        if endpoint not in ENDPOINTS:
            raise UsageError(f"study {preset} names an unknown endpoint {endpoint!r}; {nearest(endpoint, ENDPOINTS)}")
        if problem := ENDPOINTS[endpoint].problem:
            raise UsageError(f"endpoint {endpoint!r} of the study {preset}: {problem}.")
    compared = [analysis["treatment"], *analysis["against"], *analysis["relatives"]]
    arms = tuple(dict.fromkeys([*compared, *sorted(record["arm"] for record in records)]))
    seeds = tuple(sorted(analysis["seeds"]))
    found = {(record["arm"], record["seed"]): record for record in records}
    used = {run: found[run] for run in sorted(found) if run[1] in seeds}
    if not used:
        raise UsageError(f"study {preset} has no record with a seed named by its preset ({list(seeds)})")
    clean = np.full((len(arms), len(seeds)), np.nan)
    robust = np.full((len(arms), len(seeds), len(eps)), np.nan)
    l2_robust = np.full((len(arms), len(seeds), len(l2_eps)), np.nan)
    for (arm, seed), record in used.items():
        if record["status"] == "done":
            at = arms.index(arm), seeds.index(seed)
            try:
                clean[at], robust[at] = clean_accuracy(record), robust_curve(record, "Linf", eps)
                l2_robust[at] = robust_curve(record, "L2", l2_eps)
            except ValueError as error:
                raise RunError(f"record {preset}/{name(record)}.json: {error}. Delete it to repeat its run.") from error
    unnamed = tuple(sorted(run for run in found if run not in used))
    weights = {run: record.get("final_weights_hash", "") for run, record in used.items()}
    rows = tuple(row for row in attacked if weights.get((row["arm"], row["seed"])) == row["weights"])
    return Study(preset, arms, seeds, unnamed, eps, clean, robust, l2_eps, l2_robust, used, rows)

"""The tables of RESULTS.md: pure functions from a study to Markdown, every number from its records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from tabulate import tabulate

from benchmark.analysis.bootstrap import MIN_SEEDS
from benchmark.analysis.comparisons import Contrast, bootstrap_interval, comparisons, contrasts
from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.paired import MIN_PAIRS_TO_TEST, Comparison, Floats
from benchmark.analysis.study import Study
from benchmark.analysis.verdicts import outcome, p_text, signed
from benchmark.records.schema import Record
from benchmark.settings.preset import Endpoint

PREFIXES = ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k"))


@dataclass(frozen=True)
class Table:
    """A table of texts; its own text is Markdown. The first column and those headed by `words` align left."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[str] = ()

    def __str__(self) -> str:
        # tabulate's "pipe" is its "github" with the colons that GitHub takes the alignment from.
        return self.write("pipe")

    def write(self, tablefmt: str) -> str:
        """Return the table in one of tabulate's formats."""
        align = ["left" if header in (self.headers[0], *self.words) else "right" for header in self.headers]
        return tabulate(self.rows, self.headers, tablefmt=tablefmt, disable_numparse=True, colalign=align)


def code(name: str) -> str:
    """Write a name as Markdown code."""
    return f"`{name}`"


def mean_text(values: Floats, digits: int = 2) -> str:
    """Write the mean of the finite values, (seed,), or a dash where there is none."""
    finite = values[np.isfinite(values)]
    return f"{finite.mean():.{digits}f}" if len(finite) else "-"


def sd_text(values: Floats) -> str:
    """Write the standard deviation (n - 1) of the finite values, (seed,), or a dash below two."""
    finite = values[np.isfinite(values)]
    return f"{finite.std(ddof=1):.2f}" if len(finite) > 1 else "-"


def seeds_table(study: Study) -> Table:
    """Last-epoch accuracy of every seed, mean and sd in points; beside them the mean of the best epochs."""
    rows = []
    for arm, values in zip(study.arms, study.values("clean"), strict=True):
        bests = [100 * record["best_epoch"]["accuracy"] for record in study.done(arm) if record["best_epoch"]]
        best = f"{fmean(bests):.2f}" if bests else "-"
        rows.append([code(arm), *seed_cells(study, arm, values), best])
    return Table(["arm", *seed_headers(study), "best epoch"], rows)


def seed_headers(study: Study) -> list[str]:
    """Return the headers over `seed_cells`."""
    return [*(f"seed {seed}" for seed in study.seeds), "mean", "sd"]


def seed_cells(study: Study, arm: str, values: Floats) -> list[str]:
    """Write an arm's value of every seed, (seed,) in points, or why there is none; then mean and sd."""
    cells = [
        f"{value:.2f}" if np.isfinite(value) else study.status(arm, seed).replace("done", "-")
        for seed, value in zip(study.seeds, values, strict=True)
    ]
    return [*cells, mean_text(values), sd_text(values)]


def comparison_table(study: Study, endpoint: Endpoint) -> Table:
    """The treatment against each named arm on one endpoint: difference, tests, verdict.

    Of an exploratory study, which has no verdicts, the `contrast_table`.
    """
    if study.exploratory:
        return contrast_table(study, endpoint)
    headers = [
        "against",
        "seeds",
        "higher in",
        "difference",
        "95% interval",
        "p",
        "Holm p",
        "exact p (floor)",
    ]
    headers += ["Welch p", "equivalence p", "detectable", "verdict"]
    rows = [
        comparison_row(arm, pair, study.interim(arm))
        if pair
        else [code(arm), *["-"] * 10, no_comparison(study, endpoint, arm)]
        for arm, pair in comparisons(study, endpoint).items()
    ]
    if endpoint == "clean" and len(study.seeds) >= MIN_SEEDS:
        headers.insert(-1, "bootstrap interval")
        for arm, row in zip(study.against, rows, strict=True):
            row.insert(-1, bootstrap_text(study, arm))
    return Table(headers, rows, words=["verdict"])


def tested(study: Study, endpoints: Sequence[Endpoint]) -> list[str | Table]:
    """Return a sentence and the `comparison_table` of each endpoint that the preset named."""
    parts: list[str | Table] = []
    for endpoint in endpoints:
        if endpoint in study.endpoints:
            parts += [f"{code(study.treatment)} against each other arm: {study.title(endpoint)}."]
            parts += [comparison_table(study, endpoint)]
    return parts


def bootstrap_text(study: Study, arm: str) -> str:
    """Write the two-level bootstrap interval of the difference from an arm; a dash with too few seeds in both."""
    found = bootstrap_interval(study, arm)
    return "-" if found is None else f"{signed(found[0])} to {signed(found[1])}"


def comparison_row(arm: str, pair: Comparison, interim: bool) -> list[str]:
    """One row of `comparison_table`; dashes where a test is undefined, too few seeds carry one, or runs are to come."""
    row = [code(arm), str(pair.n), f"{pair.wins}/{pair.n}", signed(pair.difference)]
    if interim or pair.n < MIN_PAIRS_TO_TEST:
        return [*row, *["-"] * 7, "interim" if interim else outcome(pair)]
    return [
        *row,
        "-" if pair.low is None else f"{signed(pair.low)} to {signed(pair.high)}",
        p_text(pair.p),
        p_text(pair.holm),
        f"{p_text(pair.exact)} ({p_text(pair.floor)})",
        p_text(pair.welch),
        p_text(pair.tost_holm),
        "-" if pair.constant or pair.detectable is None else f"{pair.detectable:.2f}",
        outcome(pair),
    ]


def no_comparison(study: Study, endpoint: Endpoint, arm: str) -> str:
    """Say why there is no comparison with an arm on an endpoint."""
    if study.shared_seeds(arm):
        if not ENDPOINTS[endpoint].undefined:
            return "nothing was attacked"
        finite = np.isfinite(study.values(endpoint)).sum(axis=1)
        named = [name for name in (study.treatment, arm) if finite[study.arms.index(name)] < len(study.done(name))]
        return f"{' and '.join(map(code, named))} did not reach it in every seed"
    for name in (study.treatment, arm):
        if not study.seeds_with(name, "missing") and not study.done(name):
            return f"every run of {code(name)} diverged"
    return "no seed is finished in both"


def contrast_table(study: Study, endpoint: Endpoint) -> Table:
    """Every seed of an exploratory study on one endpoint, and each row's difference from the default: no verdict."""
    found = contrasts(study, endpoint)
    headers = ["row", *seed_headers(study), "difference", "95% interval", "p", "BH p", "paired p"]
    rows = [
        [code(arm), *seed_cells(study, arm, values), *contrast_cells(found.get(arm))]
        for arm, values in zip(study.arms, study.values(endpoint), strict=True)
    ]
    return Table(headers, rows)


def contrast_cells(contrast: Contrast | None) -> list[str]:
    """Write difference, interval, p, BH p and the paired p; dashes where they are undefined."""
    if contrast is None:
        return ["-"] * 5
    t = contrast.t
    interval = "-" if t.low is None else f"{signed(t.low)} to {signed(t.high)}"
    return [signed(t.difference), interval, p_text(t.p), p_text(contrast.bh), p_text(contrast.paired)]


def cost_table(study: Study) -> Table:
    """What a run of each arm spends in training, mean over seeds, and relative to the reference arm."""
    base = reference(study)
    columns: dict[str, tuple[Callable[[Record], float], Callable[[float], str]]] = {
        "seconds": (lambda record: record["cost"]["train_seconds"], lambda value: f"{value:,.1f}"),
        "FLOPs": (lambda record: record["cost"]["train_flops"], si),
        "gradient samples": (lambda record: record["cost"]["train_gradients"], si),
        "peak memory": (
            lambda record: record["cost"]["peak_memory_bytes"],
            lambda value: f"{value / 2**20:,.0f} MiB",
        ),
        "augmented iterations": (augmented, lambda value: f"{100 * value:.0f}%"),
    }
    rows = []
    for arm in study.arms:
        row = [code(arm)]
        for title, (measure, write) in columns.items():
            values, bases = ([measure(record) for record in study.done(name)] for name in (arm, base))
            relative = title != "augmented iterations" and bool(bases) and fmean(bases) > 0
            share = f" ({fmean(values) / fmean(bases):.2f}x)" if values and relative else ""
            row.append(write(fmean(values)) + share if values else "-")
        rows.append(row)
    return Table(["arm", *columns], rows)


def reference(study: Study) -> str:
    """Return the arm that costs are relative to: standard where it is, else the first compared arm."""
    return "standard" if "standard" in study.arms else study.against[0]


def augmented(record: Record) -> float:
    """Return the share of a run's iterations that the method augmented, in [0, 1]."""
    return fmean(epoch["augmented"] for epoch in record["epochs"])


def si(value: float) -> str:
    """Write a count with three digits and an SI prefix: "2.13 T"."""
    power, prefix = next(((p, t) for p, t in PREFIXES if value >= 10**p), (0, ""))
    short = value / 10**power
    return f"{short:.{2 if short < 10 else 1 if short < 100 else 0}f} {prefix}".rstrip()


def environment_table(studies: Sequence[Study]) -> Table:
    """Versions, device and commit that every study ran with; several values where its runs differ."""
    keys = dict.fromkeys(key for study in studies for record in study.records.values() for key in record["environment"])
    rows = []
    for key in keys:
        if key != "date":
            cells = [
                ", ".join(sorted({record["environment"].get(key, "-") for record in study.records.values()}))
                for study in studies
            ]
            rows.append([key, *cells])
    presets = [code(study.preset) for study in studies]
    return Table(["", *presets], rows, words=presets)

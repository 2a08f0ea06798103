"""Tables of a study from its records: accuracy, differences, training sizes, self-comparison."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median

import numpy as np

from benchmark.analysis.bootstrap import MIN_SEEDS
from benchmark.analysis.comparisons import TRIED, bootstrap_interval, comparisons, outcome, self_comparison
from benchmark.analysis.exploratory import DECIDE, Contrast, contrasts
from benchmark.analysis.paired import ALPHA, MIN_PAIRS_TO_TEST, Comparison, Floats, PairedT, detectable_difference
from benchmark.analysis.study import Study
from benchmark.analysis.trend import Trend, gain
from benchmark.report.notation import (
    BREAK,
    TIE,
    capital,
    code,
    count,
    fixed,
    mean_text,
    p_text,
    sd_text,
    series,
    signed,
)
from benchmark.report.table import Table
from benchmark.report.words import comparison_cell, heading, interval, no_comparison, span
from benchmark.settings.values import Endpoint
from benchmark.settings.variants import EQUAL_COMPUTE

# Accuracy of every seed.


def seeds_table(study: Study) -> Table:
    """Return last-epoch accuracy of every seed, mean and sd in points, and the mean of the best epochs."""
    rows = []
    for arm, values in zip(study.arms, study.values("clean"), strict=True):
        bests = [100 * record["best_epoch"]["accuracy"] for record in study.done(arm) if record["best_epoch"]]
        best = fixed(fmean(bests)) if bests else "-"
        rows.append([code(arm), *_seed_cells(study, arm, values), best])
    return Table(["arm", *_seed_headers(study), "best epoch"], rows)


def means(study: Study, endpoint: Endpoint, without: str | None = None) -> str:
    """Return each arm but `without` with its mean over seeds: "a 80.12, b 80.05"."""
    rows = zip(study.arms, study.values(endpoint), strict=True)
    return ", ".join(f"{arm} {mean_text(row)}" for arm, row in rows if arm != without)


def _seed_headers(study: Study) -> list[str]:
    return [*(f"seed {seed}" for seed in study.seeds), "mean", "sd"]


def _seed_cells(study: Study, arm: str, values: Floats) -> list[str]:
    """Format an arm's value of every seed, (seed,) in points, or the run's status without one; then mean and sd."""
    named = arm in (study.treatment, *study.against)  # other arms need not run at every seed
    absent = {"done": "-", "missing": "missing" if named else "-", "diverged": "diverged"}
    cells = [
        fixed(value) if np.isfinite(value) else absent[study.status(arm, seed)]
        for seed, value in zip(study.seeds, values, strict=True)
    ]
    return [*cells, mean_text(values), sd_text(values)]


# Differences.


def differences_table(study: Study) -> Table:
    """Return the treatment minus each named arm on every endpoint: difference, interval, Holm p, outcome."""

    def cell(endpoint: Endpoint, arm: str, pair: Comparison | None) -> str:
        return comparison_cell(pair, study.interim(arm)) if pair else no_comparison(study, endpoint, arm)

    table = _by_endpoint(study, cell)
    if len(study.families) < 2:
        return table
    of = ["claims" if arm in study.families[0] else "relatives" for arm in study.against]
    rows = [[arm, family, *cells] for family, (arm, *cells) in zip(of, table.rows, strict=True)]
    return Table(["against", "family", *table.words], rows, words=["family", *table.words])


def _by_endpoint(study: Study, cell: Callable[[Endpoint, str, Comparison | None], str]) -> Table:
    """Return a table of the named arms, with a column for each endpoint."""
    found = {endpoint: comparisons(study, endpoint) for endpoint in study.endpoints}
    rows = [[code(arm), *(cell(endpoint, arm, found[endpoint][arm]) for endpoint in found)] for arm in study.against]
    headers = [heading(study, endpoint) for endpoint in study.endpoints]
    return Table(["against", *headers], rows, words=headers)


def more_tests_table(study: Study) -> Table:
    """Return p of the t test, the exact and Welch's test, equivalence and detectable difference of each comparison."""

    def cell(endpoint: Endpoint, arm: str, pair: Comparison | None) -> str:
        if pair is None or study.interim(arm) or pair.n < MIN_PAIRS_TO_TEST:
            return "-"
        lines = [
            f"higher in {pair.wins}/{pair.n}; p{TIE}{p_text(pair.p)}",
            f"exact{TIE}{p_text(pair.exact)}, Welch{TIE}{p_text(pair.welch)}",
        ]
        if pair.margin is not None:
            lines.append(f"equivalence{TIE}{p_text(pair.tost_holm)}")
        if not pair.constant and pair.detectable is not None:
            lines.append(f"detectable{TIE}{fixed(pair.detectable)}")
        if endpoint == "clean" and (found := bootstrap_interval(study, arm)):
            lines.append(f"bootstrap {interval(*found)}")
        return BREAK.join(lines)

    return _by_endpoint(study, cell)


def comparison_table(study: Study, endpoint: Endpoint) -> Table:
    """Return the treatment against each named arm on one endpoint, a column for each test, for other programs."""
    headers = ["against", "seeds", "higher in", "difference", "95% interval", "p", "Holm p", "exact p", "exact floor"]
    headers += ["Welch p", "equivalence p", "detectable", "outcome"]
    rows = []
    for arm, pair in comparisons(study, endpoint).items():
        cells = _comparison_cells(study, arm, pair) if pair else ["-"] * 11 + [no_comparison(study, endpoint, arm)]
        rows.append([code(arm), *cells])
    if endpoint == "clean" and len(study.seeds) >= MIN_SEEDS:
        headers.insert(-1, "bootstrap interval")
        for arm, row in zip(study.against, rows, strict=True):
            row.insert(-1, interval(*(bootstrap_interval(study, arm) or (None, None))))
    return Table(headers, rows, words=["outcome"])


def _comparison_cells(study: Study, arm: str, pair: Comparison) -> list[str]:
    """Format the columns of `comparison_table`; dashes for tests that are undefined or not made."""
    cells = [str(pair.n), f"{pair.wins}/{pair.n}", signed(pair.difference)]
    if study.interim(arm) or pair.n < MIN_PAIRS_TO_TEST:
        return [*cells, *["-"] * 8, "interim" if study.interim(arm) else outcome(pair)]
    return [
        *cells,
        interval(pair.low, pair.high),
        *map(p_text, (pair.p, pair.holm, pair.exact, pair.floor, pair.welch, pair.tost_holm)),
        "-" if pair.constant or pair.detectable is None else fixed(pair.detectable),
        outcome(pair),
    ]


def contrast_table(study: Study, endpoint: Endpoint) -> Table:
    """Return every seed of an exploratory study on one endpoint, and each row's difference from the default."""
    found = contrasts(study, endpoint)
    headers = ["row", *_seed_headers(study), "difference", "95% interval", "p", "BH p", "paired p"]
    rows = [
        [code(arm), *_seed_cells(study, arm, values), *_contrast_cells(found.get(arm))]
        for arm, values in zip(study.arms, study.values(endpoint), strict=True)
    ]
    return Table(headers, rows)


def _contrast_cells(contrast: Contrast | None) -> list[str]:
    if contrast is None:
        return ["-"] * 5
    t = contrast.t
    return [signed(t.difference), interval(t.low, t.high), *map(p_text, (t.p, contrast.bh, contrast.paired))]


def contrasts_in_short(study: Study, endpoint: Endpoint) -> str:
    """Return the rows with small p, with and without BH correction, and the smallest detectable differences."""
    found = {arm: row for arm, row in contrasts(study, endpoint).items() if row is not None}
    rows = len(study.against)
    after = {arm: row for arm, row in found.items() if row.sure}
    before = {arm: row for arm, row in found.items() if arm not in after and row.t.p is not None and row.t.p < ALPHA}
    level = f"{ALPHA:g}".removeprefix("0")
    text = f"{capital(study.short(endpoint))}: {len(after)} of {count(rows, 'row')} differ at BH p < {level}"
    text += f" ({rows_in_short(after)})" if after else ""
    text += f", {len(before)} more without correction alone" + (f" ({rows_in_short(before)})" if before else "")
    spreads = [(row.n, row.freedom, row.t.sd) for row in found.values() if row.t.sd is not None]
    if not spreads:
        return f"{text}. No row could be tested: that takes two seeds in it and in the default, and different values."
    detectable = [
        median(sd * (detectable_difference(n, family, freedom) or 0.0) for n, freedom, sd in spreads)
        for family in (1, rows)
    ]
    alone, strictest = (fixed(value) if value <= 100 else "more than 100" for value in detectable)
    return (
        f"{text}. Found in 80% of such studies: a row that differs by {alone} points without correction, by "
        f"{strictest} with it, if no other differs."
    )


def rows_in_short(found: Mapping[str, Contrast]) -> str:
    """Return rows with their differences: "`a` +0.48, `b` -0.10"."""
    return ", ".join(f"{code(arm)} {signed(row.t.difference)}" for arm, row in found.items())


def equal_compute(study: Study) -> str:
    """Return the default's differences from plain training with as many FLOPs; "" without such a run.

    The signs are those of all other comparisons, the method minus the other arm, and not those of `contrast_table`.
    """
    found = {endpoint: contrasts(study, endpoint).get(EQUAL_COMPUTE) for endpoint in DECIDE}
    parts = []
    for endpoint, row in found.items():
        if row:
            t = _reversed(row.t)
            kind = ("higher" if t.difference > 0 else "lower") if row.sure else "not resolved"
            p = f"p{TIE}{p_text(t.p)}, BH p{TIE}{p_text(row.bh)}"
            parts.append(f"{_gain_text(t)} in {study.short(endpoint)} ({p}, {kind})")
    return series(parts) if parts else ""


def _reversed(t: PairedT) -> PairedT:
    low, high = (None if bound is None else -bound for bound in (t.high, t.low))
    return t._replace(difference=-t.difference, low=low, high=high)


# The gain over the number of training images.


def trend_table(trends: Sequence[Trend]) -> Table:
    """Return the gain at every size, and the slope in points per doubling of the images with its interval and tests."""
    sizes = [f"{gain.images:,} images" for gain in trends[0].gains]
    rows = []
    for trend in trends:
        differences = [_gain_text(test) for test in (*(gain.test for gain in trend.gains), trend.slope)]
        tests = map(p_text, (trend.slope.p, trend.exact))
        rows.append([code(trend.arm), str(len(trend.seeds)), *differences, *tests])
    return Table(["from", "seeds", *sizes, "slope a doubling", "p", "exact p"], rows)


def lengths_table(studies: Sequence[Study]) -> Table:
    """Return the gain in accuracy over each arm of studies of different lengths."""
    rows = []
    for study in studies:
        for arm in study.against:
            if seeds := study.shared_seeds(arm):
                found = gain(study, arm, "clean", seeds)
                epochs = study.any_record["settings"]["recipe"]["epochs"]
                cells = [f"{found.images:,}", str(epochs), str(len(seeds)), _gain_text(found.test)]
                rows.append([code(study.preset), code(arm), *cells])
    return Table(["study", "from", "images", "epochs", "seeds", "gain in accuracy"], rows, words=["from"])


def _gain_text(test: Comparison | PairedT) -> str:
    return f"{signed(test.difference)}{span(test)}"


# Every arm against itself.


def self_table(study: Study) -> Table | None:
    """Return the first half of each arm's seeds minus the second on both endpoints; None with too few seeds."""
    found = {endpoint: self_comparison(study, endpoint) for endpoint in TRIED}
    arms = [arm for arm in study.arms if any(arm in pairs for pairs in found.values())]
    if not arms:
        return None
    rows = [[code(arm), *(cell for pairs in found.values() for cell in _self_cells(pairs.get(arm)))] for arm in arms]
    headers = [f"{study.short(endpoint)}{of}" for endpoint in TRIED for of in ("", ", p", ", Holm p", ", Welch p")]
    return Table(["arm", *headers], rows)


def _self_cells(pair: Comparison | None) -> list[str]:
    if pair is None:
        return ["-"] * 4
    return [_gain_text(pair), *map(p_text, (pair.p, pair.holm, pair.welch))]


def false_alarms(study: Study) -> str:
    """Return the number of significant differences in `self_table`, as a sentence."""
    found = [pair for endpoint in TRIED for pair in self_comparison(study, endpoint).values()]
    alarms = sum(pair.holm is not None and pair.holm < ALPHA for pair in found)
    return f"**{count(alarms, 'false alarm')} among {len(found)} tests.**" if alarms else "There is none."

"""The section of an exploratory study in RESULTS.md: every reading's difference from the default, and no verdict."""

from collections.abc import Mapping
from statistics import fmean, median
from textwrap import fill

from benchmark.analysis.comparisons import Contrast, contrasts
from benchmark.analysis.paired import ALPHA, detectable_difference
from benchmark.analysis.study import Status, Study
from benchmark.analysis.verdicts import count, p_text, signed
from benchmark.report import prose
from benchmark.report.describe import arm_text, changes, common, ran, seed_list, unnamed
from benchmark.report.tables import Table, augmented, code, contrast_table, si
from benchmark.settings.preset import Endpoint

WRAP = 110  # letters in a line

ROWS_NOTE = """\
What a row sets differently, and what its training costs: FLOPs of forward and backward passes, mean over
finished runs, in brackets relative to {default}; *augmented* is the share of its iterations with virtual
samples. Settings that are not named are those of {default}."""

# Settings that the ablation decides, and how the names of their rows begin.
STARRED = {"layers": "layers_", "noise": "noise_", "temperature": "temperature_"}
DECISION = """\
What it decides, by the rule fixed before the records were analysed: a row replaces the default's setting where
its accuracy is higher at BH p < .05 and its area is not lower at BH p < .05; of several, the one with
the highest accuracy."""

SHOWN: tuple[Endpoint, ...] = ("clean", "area", "eps")

FIGURE_NOTE = """\
Each row minus {default}, in points: dots are means over seeds, lines their 95% intervals, small marks the
single seeds. Grey: the interval includes 0. A dot is filled where BH p < .05. Lines end at the frame; an
arrow with a number is a mean beyond it."""


def section(study: Study, folder: str) -> list[str | Table]:
    """Return everything about one exploratory study: what it is, what it shows, its figure and tables."""
    default = code(study.treatment)
    return [
        f"## Exploratory study: {prose.heading(study)}",
        *prose.synthetic(study),
        *prose.data_note(study),
        what(study),
        reading(study),
        "\n".join(f"- {finding(study, endpoint)}" for endpoint in SHOWN),
        *incomplete(study),
        *decision(study),
        f"![{alt(study)}]({folder}/{study.preset}/figures/differences.svg)",
        FIGURE_NOTE.format(default=default),
        "### The rows",
        ROWS_NOTE.format(default=default),
        rows_table(study),
        f"### Accuracy: each row minus {default}",
        f"Share of all {study.split} images that are right after the last epoch, in %.{unnamed(study)}",
        contrast_table(study, "clean"),
        f"### Robustness: each row minus {default}",
        robustness_note(study),
        f"{capital(study.title('area'))}:",
        contrast_table(study, "area"),
        f"{capital(study.title('eps'))}:",
        contrast_table(study, "eps"),
    ]


def what(study: Study) -> str:
    """Say what the rows share: data, split, network, training, attacks, the default, what was named, when."""
    lines = [
        *common(study),
        f"Default: {arm_text(study, study.treatment)}.",
        f"Named before the runs: {count(len(study.against), 'row')} against {code(study.treatment)}, in the order of "
        f"the tables; eps = {study.analysis['eps']:g}/255; seeds {', '.join(map(str, study.seeds))}.",
        ran(study),
    ]
    return "\n".join(f"- {line}" for line in lines)


def reading(study: Study) -> str:
    """Say that nothing is confirmed, what the numbers are, and how far so few seeds carry."""
    default, rows, seeds = code(study.treatment), len(study.against), len(study.seeds)
    text = f"""\
**Nothing in this section is confirmatory.** Each row is SBA read in another way, or a control, compared with
{default} on the {study.split} images; how settings are chosen from it was fixed before the records
were analysed, in `benchmark/settings/ablation.py`. *difference* is row minus {default}: a positive number means that
the row is higher.
*interval* and *p* come from one additive model of all rows and seeds (value = row + seed + noise): its spread
is that of all rows together, {rows * (seeds - 1)} degrees of freedom if no run is missing, and it assumes that
rows spread alike. *paired p* is the row's own paired t test, which over {count(seeds, "seed")} has
{count(seeds - 1, "degree")} of freedom. *BH p* is p after Benjamini and Hochberg over the {rows} rows of an
endpoint: over many such studies, at most one in twenty of the rows with BH p < .05 is chance on average, while
p alone would be below .05 in about {ALPHA * rows:.0f} of {rows} rows if no row mattered. All rows share the runs of
{default}, whose luck moves every difference the same way, so false findings come together. Seeds repeat the
training, not the choice of images: intervals say nothing of other training or {study.split} images. A row without
a small p is not shown to be the same as {default}: differences below the detectable ones, which 80% of such
studies would find, cannot be seen. Where a run is missing, a difference is the model's and not that of the means."""
    return fill(text, WRAP, break_long_words=False, break_on_hyphens=False)


def finding(study: Study, endpoint: Endpoint) -> str:
    """Say in how many rows p is small, after BH and before, and what could have been seen."""
    found = {arm: pair for arm, pair in contrasts(study, endpoint).items() if pair is not None}
    rows = len(study.against)
    after = {arm: pair for arm, pair in found.items() if pair.bh is not None and pair.bh < ALPHA}
    before = {
        arm: pair for arm, pair in found.items() if arm not in after and pair.t.p is not None and pair.t.p < ALPHA
    }
    text = f"{capital(study.title(endpoint))}: BH p < {p_text(ALPHA)} in {len(after)} of {count(rows, 'row')}"
    text += f" ({differences(after)})" if after else ""
    text += f"; p < {p_text(ALPHA)}, but not BH p, in {len(before)}" + (f" ({differences(before)})" if before else "")
    return f"{text}. {detectable(found, rows)}"


def decision(study: Study) -> list[str]:
    """List what the rule in `benchmark/settings/ablation.py` makes of the rows that decide a setting."""
    clean, area = contrasts(study, "clean"), contrasts(study, "area")

    def sure(pair: Contrast | None, sign: int) -> bool:
        return pair is not None and pair.bh is not None and pair.bh < ALPHA and sign * pair.t.difference > 0

    lines = []
    for setting, prefix in STARRED.items():
        rows = [arm for arm in study.against if arm.startswith(prefix)]
        better = {arm: pair for arm in rows if sure(pair := clean[arm], 1) and pair and not sure(area[arm], -1)}
        best = max(better, key=lambda arm: better[arm].t.difference, default=None)
        outcome = "the default stays" if best is None else f"{code(best)} replaces the default"
        met = f" ({differences(better)})" if better else ""
        lines += (
            [f"- {setting}: {outcome}; {len(better)} of {count(len(rows), 'row')} met the rule{met}."] if rows else []
        )
    if lines and any(study.seeds_with(arm, "missing") for arm in study.arms):
        return ["What it decides is open until all runs are done."]
    return [DECISION, "\n".join(lines)] if lines else []


def differences(found: Mapping[str, Contrast]) -> str:
    """Write rows with their differences: "`noise_1` +0.31, `erm` -0.90"."""
    return ", ".join(f"{code(arm)} {signed(pair.t.difference)}" for arm, pair in found.items())


def detectable(found: Mapping[str, Contrast], rows: int) -> str:
    """Write the smallest detectable differences, or that no row could be tested."""
    spreads = [(pair.n, pair.freedom, pair.t.sd) for pair in found.values() if pair.t.sd is not None]
    if not spreads:
        return "No row could be tested: that takes two seeds finished in it and in the default, and different ones."
    alone, strictest = (
        median(sd * (detectable_difference(n, family, freedom) or 0.0) for n, freedom, sd in spreads)
        for family in (1, rows)
    )
    return (
        f"Smallest detectable difference, at a sd of the difference of {spreads[0][2]:.2f}: {size(alone)} "
        f"points for one row by itself (p), {size(strictest)} points for the only one of {rows} rows that differs "
        "(BH p)."
    )


def size(points: float) -> str:
    """Write a detectable difference, which has no meaning beyond the scale's end."""
    return f"{points:.2f}" if points <= 100 else "more than 100"


def incomplete(study: Study) -> list[str]:
    """Name diverged and missing runs and rows that were not named beforehand, a paragraph, or nothing."""
    kinds: dict[Status, str] = {
        "diverged": "Diverged, a failure of the row that its mean and tests leave out, which flatters it",
        "missing": "Interim, not run yet",
    }
    lines = []
    for status, text in kinds.items():
        runs = {arm: study.seeds_with(arm, status) for arm in study.arms}
        named = [
            code(arm) + ("" if status == "missing" and len(seeds) == len(study.seeds) else f" {seed_list(seeds)}")
            for arm, seeds in runs.items()
            if seeds
        ]
        lines += [f"- {text}: {', '.join(named)}."] if named else []
    extra = [code(arm) for arm in study.arms if arm not in (study.treatment, *study.against)]
    if extra:
        lines.append(f"- Not named beforehand, so shown and not compared: {', '.join(extra)}.")
    return ["\n".join(lines)] if lines else []


def alt(study: Study) -> str:
    """Return the figure's text for those who do not see it; the tables below it have every value."""
    return (
        f"Differences of {count(len(study.against), 'row')} from {study.treatment} with 95% intervals, in accuracy on "
        f"the {study.split} images and in the area under the curve of accuracy under these attacks; the values are "
        "in the tables below"
    )


def rows_table(study: Study) -> Table:
    """What each row sets differently, its training FLOPs relative to the default's, its augmented iterations."""
    default, base = study.arm_settings(study.treatment), study.done(study.treatment)
    rows = []
    for arm in study.arms:
        spec, runs = study.arm_settings(arm), study.done(arm)
        differs = "no run yet" if spec is None else "; ".join(changes(spec, default)) if default else "unknown"
        flops = [record["cost"]["train_flops"] for record in runs]
        bases = [record["cost"]["train_flops"] for record in base]
        relative = f" ({fmean(flops) / fmean(bases):.2f}x)" if flops and any(bases) else ""
        share = f"{100 * fmean(map(augmented, runs)):.0f}%" if runs else "-"
        rows.append([code(arm), differs or "-", si(fmean(flops)) + relative if flops else "-", share])
    words = f"differs from {code(study.treatment)} in"
    return Table(["row", words, "FLOPs", "augmented"], rows, words=[words])


def robustness_note(study: Study) -> str:
    """Say what the robustness numbers are."""
    images = study.any_record["settings"]["evaluation"]["images"]
    return (
        f"Share of {images:,} {study.split} images that are right without attack and under every attack, in %; one "
        f"image is {100 / images:.2g} points. All values are *under these attacks*: a stronger one can only lower them."
    )


def capital(text: str) -> str:
    """Begin with a capital letter and leave the rest."""
    return text[:1].upper() + text[1:]

"""The pages of the report from templates: RESULTS.md, a page for each study, and shared pages."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.analysis.claims import CONTROL_KEEPS, OTHERS_KEEP, OURS, Finding, findings, load_claims, positive_control
from benchmark.analysis.exploratory import Contrast, contrasts, decide
from benchmark.analysis.paired import ALPHA, MIN_PAIRS_TO_TEST, detectable_difference
from benchmark.analysis.published import data_set, published
from benchmark.analysis.self_comparison import TRIED, self_comparison
from benchmark.analysis.study import Study
from benchmark.analysis.trend import doses, longer, trends
from benchmark.analysis.trials import FILE as TRIALS
from benchmark.analysis.trials import read_trials
from benchmark.records.autoattack import FILE as AUTOATTACK
from benchmark.records.autoattack import read_rows
from benchmark.records.schema import CrosscheckRow
from benchmark.report import answer, attack_tables, description, published_table, tables, words
from benchmark.report.words import code, count, escape, p_text, seed_list, signed
from benchmark.settings.preset import Endpoint

TRENDS: tuple[Endpoint, ...] = ("clean", "area")  # the endpoints of the page of training sizes
CONTRASTED: tuple[Endpoint, ...] = ("clean", "area", "eps")  # the endpoints of an exploratory page
_SHARED = ("how_to_read", "checks", "published", "reproduce")  # pages beside the studies, in results/
_ABOUT = {
    "how_to_read": ("How to read the results", "terms, tests and figures"),
    "checks": ("Checks", "sanity flags of every run, and other packages' attacks beside ours"),
    "published": ("Published figures", "other authors' results, beside ours where comparable"),
    "reproduce": ("How to reproduce", "commands, commits, versions"),
    "training_size": ("When does it help?", "the gain over the number of training images"),
}

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # Markdown: texts from outside go through words.escape
)
_environment.globals |= {"tables": tables, "attack_tables": attack_tables, "description": description, "words": words}


@dataclass(frozen=True)
class Site:
    """The paths of the pages: RESULTS.md is `output`, all others are below `results`, the folder of the records."""

    results: Path
    output: Path

    def study(self, preset: str) -> Path:
        """Return the page of a study."""
        return self.results / preset / "README.md"

    def shared(self, name: str) -> Path:
        """Return one of the `_SHARED` pages."""
        return self.results / f"{name}.md"

    @property
    def figure(self) -> Path:
        """The figure of RESULTS.md."""
        return self.results / "figures" / "differences.svg"

    def link(self, page: Path, target: Path) -> str:
        """Return a link from a page to a file, percent-encoded."""
        return quote(Path(os.path.relpath(target.resolve(), page.resolve().parent)).as_posix())

    def links(self, page: Path) -> dict[str, str]:
        """Return the links from a page to RESULTS.md and to the shared pages."""
        shared = {name: self.link(page, self.shared(name)) for name in _SHARED}
        return shared | {"results": self.link(page, self.output)}


def page_of(name: str, **context: object) -> str:
    """Render templates/<name>.md.j2, with at most one empty line between paragraphs."""
    text = _environment.get_template(f"{name}.md.j2").render(**context)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def all_pages(
    site: Site, studies: Sequence[Study], found: answer.Answer, compared: Mapping[str, Sequence[CrosscheckRow]]
) -> dict[Path, str]:
    """Return path -> text of every page; `compared` has preset -> rows of its crosscheck."""
    pages = {site.output: _results(site, studies, found)}
    if not studies:
        return pages
    judged = findings([study for study in studies if not study.exploratory])
    for study in studies:
        of_study = [(claim.name, of[study.preset]) for claim, of in judged if study.preset in of]
        page = site.study(study.preset)
        pages[page] = (
            _exploratory(site, study, studies) if study.exploratory else _study(site, study, studies, of_study)
        )
    texts = {
        "how_to_read": page_of(
            "how_to_read", links=site.links(site.shared("how_to_read")), fewest=MIN_PAIRS_TO_TEST, claims=_claims()
        ),
        "checks": _checks(site, studies, compared),
        "published": page_of(
            "published",
            links=site.links(site.shared("published")),
            published=published(),
            table=published_table.published_table(studies),
        ),
        "reproduce": page_of(
            "reproduce",
            links=site.links(site.shared("reproduce")),
            commands=[f"python -m {command(study)}" for study in studies],
            studies=studies,
        ),
    }
    if doses(studies):
        texts["training_size"] = _training_size(site, studies)
    return pages | {site.shared(name): text for name, text in texts.items()}


def _training_size(site: Site, studies: Sequence[Study]) -> str:
    page = site.shared("training_size")
    groups = []
    for number, group in enumerate(doses(studies)):
        data, network = group[0].any_record["data"]["name"], group[0].any_record["model"]["name"]
        names = {endpoint: group[0].short(endpoint) for endpoint in TRENDS}
        groups.append(
            {
                "title": f"{escape(data_set(data).title)}, network {code(network)}",
                "treatment": group[0].treatment,
                "endpoints": {names[endpoint]: trends(group, endpoint) for endpoint in TRENDS},
                "figures": {names[e]: site.link(page, trend_path(site, number, e)) for e in TRENDS},
                "longer": tables.lengths_table(longer(group, studies), "clean"),
            }
        )
    return page_of("training_size", links=site.links(page), groups=groups)


def trend_path(site: Site, group: int, endpoint: Endpoint) -> Path:
    """Return the path of the figure of a group's trend in an endpoint."""
    return site.results / "figures" / f"training_size_{group + 1}_{endpoint}.svg"


def _claims() -> tables.Table:
    """Return every claim with its source, endpoints and compared arms."""
    rows = []
    for claim in load_claims():
        decides = ", ".join([*claim.decides, *(words.COUNTED[name] for name in claim.counts)])
        arms = [*map(code, claim.against), *(f"{code(arm)} where named" for arm in claim.also)]
        source = "we ask it" if claim.source == OURS else claim.source
        rows.append([claim.name, claim.says, source, decides, ", ".join(arms)])
    headers = ["claim", "statement, in our words", "source", "endpoints", "against"]
    return tables.Table(headers, rows, words=headers)


def _results(site: Site, studies: Sequence[Study], found: answer.Answer) -> str:
    testing = [study for study in studies if not study.exploratory]
    groups = {
        title: [(escape(study.analysis["title"]), site.link(site.output, site.study(study.preset))) for study in group]
        for title, group in found.groups.items()
        if group
    }
    return page_of(
        "results",
        folder=Path(os.path.relpath(site.results.resolve(), site.output.resolve().parent)).as_posix(),
        studies=studies,
        synthetic=any(study.any_record["data"]["synthetic"] for study in studies),
        answer=found,
        alt=answer.alt(found.studies),
        figure=site.link(site.output, site.figure),
        treatment=words.series(sorted({code(study.treatment) for study in found.studies})) if found.studies else "",
        chosen=answer.chosen_caveat(studies, found.studies),
        fewest=min((len(study.seeds) for study in found.studies or testing or studies), default=0),
        groups=groups,
        shared=[
            (*_ABOUT[name], site.link(site.output, site.shared(name)))
            for name in (*_SHARED, *(["training_size"] if doses(studies) else []))
        ],
    )


def network_page(study: Study) -> str:
    """Return the report of one network that was not trained here, a study of one run."""
    record = study.any_record
    return page_of(
        "network",
        study=study,
        attacked=study.any_record["settings"]["evaluation"]["images"],
        checked=attack_tables.checked(record),
        undisturbed=attack_tables.undisturbed_table(study),
        flags=[escape(flag) for flag in record["flags"]],
    )


def _warnings(study: Study) -> list[str]:
    """Return the warnings that precede all numbers of a study."""
    found = []
    if study.any_record["data"]["synthetic"]:
        found.append(
            "Synthetic data: these images were generated to test the program. No number of this study says "
            "anything about a method or a data set."
        )
    if to_come := study.to_come(study.against):
        runs = f"{count(to_come, 'run')} named in the preset"
        found.append(f"Interim: {runs} still to come; nothing is decided in their families.")
    if len(study.seeds) < MIN_PAIRS_TO_TEST and not study.exploratory:
        found.append(f"Described, not tested: {count(len(study.seeds), 'seed')} cannot carry a test.")
    if weak := description.weak_suite(study):
        found.append(weak)
    if mixed := description.mixed_devices(study):
        found.append(mixed)
    control = positive_control(study)
    if control and control.passed is False:
        found.append("The positive control is not more robust than the other arms: do not trust these attacks.")
    return found


def _study(site: Site, study: Study, studies: Sequence[Study], judged: Sequence[tuple[str, Finding]]) -> str:
    page = site.study(study.preset)
    twin = tables.twin(study, studies)
    return page_of(
        "study",
        study=study,
        studies=studies,
        links=site.links(page) | ({"compute": site.link(page, site.study(twin.preset))} if twin else {}),
        warnings=_warnings(study),
        claims=answer.claims_table(study, judged),
        unnamed=_unnamed(study),
        tested=len(study.seeds) >= MIN_PAIRS_TO_TEST,
        endpoints=words.series(map(study.short, study.endpoints)),
        left_out=_left_out(study),
        alts={name: _alt(study, name) for name in ("accuracy", "robustness", "differences", "cost")},
        attacked=study.any_record["settings"]["evaluation"]["images"],
        control=_control_text(study),
        search=_search(site, study),
        autoattack=_autoattack(site, study),
        undisturbed=attack_tables.undisturbed_table(study),
        compute=tables.compute_table(study, twin) if twin else None,
        self_table=tables.self_table(study),
        alarms=_alarms(study),
    )


def _search(site: Site, study: Study) -> dict[str, object] | None:
    path = site.results / study.preset / TRIALS
    if not path.is_file():
        return None
    trials = read_trials(path)
    return {"text": description.budget_text(trials), "table": description.search_table(trials)}


def _autoattack(site: Site, study: Study) -> dict[str, object] | None:
    rows = read_rows(site.results / study.preset / AUTOATTACK)
    if not rows:
        return None
    table, lines = attack_tables.autoattack_table(rows), attack_tables.survival(study, rows)
    return {"note": attack_tables.AUTOATTACK_NOTE, "table": table, "lines": lines}


def _unnamed(study: Study) -> str:
    runs = ", ".join(f"{code(arm)} seed {seed}" for arm, seed in study.unnamed)
    return f" Not named by the preset and used in no number here: {runs}." if runs else ""


def _left_out(study: Study) -> list[str]:
    """Return lines on the named runs that diverged or are missing."""
    lines = []
    for arm in study.arms:
        if seeds := study.seeds_with(arm, "diverged"):
            lines.append(
                f"{code(arm)}: {seed_list(seeds)} diverged, a failure of that arm, which means and tests leave out; "
                "that flatters it."
            )
        if arm in (study.treatment, *study.against) and (seeds := study.seeds_with(arm, "missing")):
            lines.append(f"{code(arm)}: {seed_list(seeds)} not run yet.")
    return lines


def _control_text(study: Study) -> str:
    """Return the accuracy of the positive control at the largest eps beside that of the other arms; "" without one."""
    control, at = positive_control(study), f"Linf {study.eps[-1]:g}/255"
    if control is None:
        return ""
    name = f"Positive control: {code(study.positive_control or '')}, trained on adversarial images,"
    if control.passed is None:
        waiting = "has no finished run yet" if not len(control.kept) else "is the only arm that is finished"
        return f"{name} {waiting}: nothing shows so far that these attacks can recognise a robust network."
    kept = ", ".join(f"{value:.1f}" for value in control.kept)
    outcome = "The attacks can recognise a robust network."
    if not control.passed:
        outcome = (
            f"**It should keep more than {CONTROL_KEEPS:g}% and the others less than {OTHERS_KEEP:g}%: do not "
            "trust the attacks of this study.**"
        )
    others = f"no run of another arm keeps more than {control.others:.1f}% there"
    return f"{name} keeps {kept}% at {at} (each seed); {others}. {outcome}"


def _alarms(study: Study) -> str:
    found = [pair for endpoint in TRIED for pair in self_comparison(study, endpoint).values()]
    alarms = sum(pair.holm is not None and pair.holm < ALPHA for pair in found)
    return f"**{count(alarms, 'false alarm')} among {len(found)} tests.**" if alarms else "There is none."


def _alt(study: Study, figure: str) -> str:
    """Return the alternative text of a figure: its content and every arm's value."""
    if figure == "differences":
        return answer.alt([study])
    if figure == "cost":
        base = tables.flops(study, tables.reference(study))
        said = [
            f"{arm} {tables.flops(study, arm) / base:.2f}x and {words.mean_text(row)}%"
            for arm, row in zip(study.arms, study.clean, strict=True)
            if base and study.done(arm) and arm != study.positive_control
        ]
        return f"Training FLOPs relative to {tables.reference(study)} and accuracy, mean over seeds: {', '.join(said)}"
    endpoint: Endpoint = "clean" if figure == "accuracy" else "area"
    shown = "Accuracy over epochs" if figure == "accuracy" else "Accuracy under these attacks over eps"
    values = zip(study.arms, study.values(endpoint), strict=True)
    means = ", ".join(f"{arm} {words.mean_text(row)}" for arm, row in values)
    return f"{shown}; {study.title(endpoint)}, mean over seeds: {means}"


def _exploratory(site: Site, study: Study, studies: Sequence[Study]) -> str:
    return page_of(
        "exploratory",
        study=study,
        studies=studies,
        links=site.links(site.study(study.preset)),
        warnings=_warnings(study),
        shown=[_contrasts_in_short(study, endpoint) for endpoint in CONTRASTED] + _left_out(study),
        decisions=_decisions(study),
        open=any(study.seeds_with(arm, "missing") for arm in (study.treatment, *study.against)),
        alts={"differences": answer.alt_rows(study)},
        freedom=len(study.against) * (len(study.seeds) - 1),
        chance=f"{ALPHA * len(study.against):.0f}",
        endpoints=CONTRASTED,
    )


def _contrasts_in_short(study: Study, endpoint: Endpoint) -> str:
    """Return the rows with small p, with and without BH correction, and the smallest detectable differences."""
    found = {arm: row for arm, row in contrasts(study, endpoint).items() if row is not None}
    rows = len(study.against)
    after = {arm: row for arm, row in found.items() if row.sure}
    before = {arm: row for arm, row in found.items() if arm not in after and row.t.p is not None and row.t.p < ALPHA}
    text = f"{words.capital(study.short(endpoint))}: BH p < {p_text(ALPHA)} in {len(after)} of {count(rows, 'row')}"
    text += f" ({_rows(after)})" if after else ""
    text += f"; p < {p_text(ALPHA)}, but not BH p, in {len(before)}" + (f" ({_rows(before)})" if before else "")
    spreads = [(row.n, row.freedom, row.t.sd) for row in found.values() if row.t.sd is not None]
    if not spreads:
        return f"{text}. No row could be tested: that takes two seeds in it and in the default, and different values."
    alone, strictest = (
        median(sd * (detectable_difference(n, family, freedom) or 0.0) for n, freedom, sd in spreads)
        for family in (1, rows)
    )
    return (
        f"{text}. Smallest detectable difference: {_points(alone)} points for one row by itself (p), "
        f"{_points(strictest)} points for the only one of {rows} rows that differs (BH p)."
    )


def _points(value: float) -> str:
    """Format a detectable difference, which is meaningless above 100 points."""
    return f"{value:.2f}" if value <= 100 else "more than 100"


def _rows(found: Mapping[str, Contrast]) -> str:
    return ", ".join(f"{code(arm)} {signed(row.t.difference)}" for arm, row in found.items())


def _decisions(study: Study) -> list[str]:
    lines = []
    for decision in decide(study):
        outcome = f"{code(decision.row)} replaces the default" if decision.row else "the default stays"
        met = f" ({_rows(decision.met)})" if decision.met else ""
        lines.append(
            f"{decision.setting}: {outcome}; {len(decision.met)} of {count(decision.rows, 'row')} met the rule{met}."
        )
    return lines


def _checks(site: Site, studies: Sequence[Study], compared: Mapping[str, Sequence[CrosscheckRow]]) -> str:
    page = site.shared("checks")
    entries = []
    for study in studies:
        rows = compared.get(study.preset, [])
        differing = sum(row["disagreements"] for row in rows)
        entries.append(
            {
                "study": study,
                "link": site.link(page, site.study(study.preset)),
                "control": _control_text(study),
                "table": attack_tables.checks_table(study)
                if any(map(attack_tables.checked, study.records.values()))
                else None,
                "flags": _flags(study),
                "crosscheck": attack_tables.crosscheck_table(rows) if rows else None,
                "disagreements": f"**Differing outcomes: {differing:,}.**"
                if differing
                else "No image has another outcome.",
            }
        )
    return page_of("checks", links=site.links(page), entries=entries)


def _flags(study: Study) -> list[str]:
    lines = []
    for (arm, seed), record in study.records.items():
        run = f"{code(arm)} seed {seed}"
        if record["status"] == "diverged":
            lines.append(
                f"{run} diverged after {count(len(record['epochs']), 'epoch')}: {escape(record['reason'] or '')}"
            )
        lines += [f"{run}: {escape(flag)}" for flag in record["flags"]]
    return lines


def command(study: Study) -> str:
    """Return the arguments of `python -m` that repeat a study: its number of processes, preset and mode."""
    processes = study.any_record["environment"].get("processes")
    together = f"torch.distributed.run --standalone --nproc-per-node {processes} -m " if processes else ""
    preset = study.preset
    for option, chosen in (("ablation", study.exploratory), ("compute", study.any_record["settings"].get("compute"))):
        if chosen and preset.endswith(f"_{option}"):
            preset = f"{preset.removesuffix(f'_{option}')} --{option}"
    return f"{together}benchmark run {preset}"

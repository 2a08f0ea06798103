"""The pages of the report from templates: RESULTS.md, a page for each study, and shared pages."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.analysis.exploratory import decide
from benchmark.analysis.judgements import OTHERS_KEEP, positive_control, robust_from
from benchmark.analysis.paired import ALPHA, MIN_PAIRS_TO_TEST
from benchmark.analysis.published import data_set, published, published_beside_ours
from benchmark.analysis.study import Study
from benchmark.analysis.trend import doses, longer, trends
from benchmark.analysis.trials import FILE as TRIALS
from benchmark.analysis.trials import read_trials
from benchmark.evaluation.catalogue import STANDARD_QUERIES, STANDARD_STEPS, scale_warning
from benchmark.records.schema import CrosscheckRow
from benchmark.report import answer, attack_tables, cost_tables, description, notation, tables
from benchmark.report.figures import differences
from benchmark.report.published_table import published_sections
from benchmark.report.worth import largest_eps, prices
from benchmark.runtime.errors import UsageError
from benchmark.settings.values import Endpoint

TRENDS: tuple[Endpoint, ...] = ("clean", "area")  # the endpoints of the page of training sizes
CONTRASTED: tuple[Endpoint, ...] = ("clean", "area", "eps")  # the endpoints of an exploratory page
_CLAIMS = "benchmark/analysis/claims.toml"  # a folder that has this file is a checkout
_SHARED = ("how_to_read", "checks", "published", "reproduce")  # pages beside the studies, in results/


@dataclass(frozen=True)
class Site:
    """The paths of the pages: RESULTS.md is `output`, all others are below `results`, the folder of the records."""

    results: Path
    output: Path

    def study(self, preset: str) -> Path:
        """Return the page of a study."""
        return self.results / preset / "README.md"

    def shared(self, name: str) -> Path:
        """Return a page beside the studies."""
        return self.results / f"{name}.md"

    @property
    def history(self) -> Path:
        """What was changed when results were known, written by hand, where there is such a page."""
        return self.results / "history.md"

    @property
    def figure(self) -> Path:
        """The figure of RESULTS.md."""
        return self.results / "figures" / "differences.svg"

    def trend(self, group: int, endpoint: Endpoint) -> Path:
        """Return the figure of a group's gain over the training images; groups count from 1."""
        return self.results / "figures" / f"training_size_{group}_{endpoint}.svg"

    def link(self, page: Path, target: Path) -> str:
        """Return a link from a page to a file, percent-encoded."""
        return quote(Path(os.path.relpath(target.resolve(), page.resolve().parent)).as_posix())

    def file(self, page: Path, name: str) -> str:
        """Return a link from a page to a file of the project; its name as code if RESULTS.md is outside a checkout."""
        checkout = next((folder for folder in self.output.resolve().parents if (folder / _CLAIMS).is_file()), None)
        return f"[{name}]({self.link(page, checkout / name)})" if checkout else notation.code(name)

    def named(self, page: Path, preset: str) -> str:
        """Return a link from a page to a study, by its name."""
        return f"[{notation.code(preset)}]({self.link(page, self.study(preset))})"


def page_of(name: str, **context: object) -> str:
    """Render templates/<name>.md.j2, with at most one empty line between paragraphs."""
    text = environment.get_template(f"{name}.md.j2").render(**context)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def all_pages(
    site: Site, studies: Sequence[Study], found: answer.Answer, compared: Mapping[str, Sequence[CrosscheckRow]]
) -> dict[Path, str]:
    """Return path -> text of every page; `compared` has preset -> rows of its crosscheck.

    Raises:
        UsageError: the output is the path of another page.
    """
    pages: dict[Path, str] = {}

    def add(path: Path, template: str, **context: object) -> None:
        if path in pages:
            raise UsageError(f"--output {path} is the place of another page of the report; choose another.")
        link, of_page = partial(site.link, path), {"file": partial(site.file, path), "named": partial(site.named, path)}
        shared = {name: link(site.shared(name)) for name in (*_SHARED, "training_size")}
        links = shared | {"results": link(site.output)}
        pages[path] = page_of(template, site=site, studies=studies, link=link, links=links, **of_page, **context)

    folder = Path(os.path.relpath(site.results.resolve(), site.output.resolve().parent)).as_posix()
    seeds = [len(study.seeds) for study in studies if not study.exploratory]
    fewest = min((n for n in seeds if n >= MIN_PAIRS_TO_TEST), default=0)
    add(site.output, "results", answer=found, folder=folder, fewest=fewest)
    for study in studies:
        page = site.study(study.preset)
        if study.exploratory:
            add(page, "exploratory", study=study, endpoints=CONTRASTED)
            continue
        claims = answer.claims_table(study, found.judged)
        searched, twin = page.with_name(TRIALS), cost_tables.twin(study, studies)
        trials = read_trials(searched) if searched.is_file() else None
        undecided = answer.undecided(study, found.judged)
        add(page, "study", study=study, claims=claims, undecided=undecided, trials=trials, twin=twin)
    for name in _SHARED if studies else ():
        add(site.shared(name), name, compared=compared)
    if doses(studies):
        add(site.shared("training_size"), "training_size", endpoints=TRENDS)
    return pages


environment = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # Markdown: texts from outside go through notation.escape
)
_FUNCTIONS = (
    *(map, sum, answer.claim_list, data_set, decide, differences.alt, differences.panels, doses, longer),
    *(largest_eps, prices),
    *(positive_control, published, published_beside_ours, published_sections, robust_from, scale_warning, trends),
    *(notation.capital, notation.code, notation.count, notation.escape, notation.fixed),
    *(notation.mean_text, notation.seed_list, notation.series, notation.settings_list),
)
environment.globals |= {function.__name__: function for function in _FUNCTIONS}
environment.globals |= {"tables": tables, "attack_tables": attack_tables, "cost_tables": cost_tables}
environment.globals["description"] = description
environment.globals |= {"ALPHA": ALPHA, "MIN_PAIRS_TO_TEST": MIN_PAIRS_TO_TEST, "OTHERS_KEEP": OTHERS_KEEP}
environment.globals |= {"STANDARD_QUERIES": STANDARD_QUERIES, "STANDARD_STEPS": STANDARD_STEPS}
environment.filters["line"] = lambda text: re.sub(r"[ \n]+", " ", text).strip() + "\n"

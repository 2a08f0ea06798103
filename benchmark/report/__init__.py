"""Judgements in, pages and figures out, without torch.

In: a folder of records. Out: RESULTS.md, the answer in the README, the pages of studies, their figures and, on demand,
HTML, CSV and LaTeX; the same bytes on every machine, so that `report --check` can compare.

`build.py` renders, writes and checks all files; `pages.py` fills templates/*.md.j2; `answer.py` has the answer,
`worth.py` for whom the method is worth its cost; `table.py` is a table and its forms, `tables.py`, `cost_tables.py`,
`attack_tables.py` and `published_table.py` make those of studies; `notation.py` formats names and numbers, `words.py`
comparisons and claims; `description.py` describes a study and how to repeat it; `figures/` draws; `html.py` joins all
pages to one.

To change a page, change its template and run `pytest tests/benchmark/report/test_pages.py --update-golden`. To add a
table: a function in one of these modules, its place in a template, and its name in `build.all_tables`.
"""

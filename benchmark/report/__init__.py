"""Judgements in, pages and figures out, without torch.

In: a folder of records. Out: RESULTS.md, the pages of studies, their figures and, on demand, HTML, CSV and LaTeX; the
same bytes on every machine, so that `report --check` can compare.
"""

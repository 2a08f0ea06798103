"""Records in, judgements out: no torch, no text of reports.

`study.py` arranges the records of a preset as arrays (arm x seed); `endpoints.py` has `ENDPOINTS`, the quantities of a
run that may be tested; `paired.py`, `exploratory.py` and `bootstrap.py` are statistics on arrays; `comparisons.py`
applies them to a study and names the outcomes; `claims.py` and claims.toml state the claims, `judgements.py`
applies their rules; `published.py` and published.toml have the figures of papers, `trend.py` gains over training
images, `trials.py` a search.

To add an endpoint, write a function study -> (arm, seed) values and add a row to `ENDPOINTS`; presets then name it in
`analysis.endpoints`. To add a claim, write a table in claims.toml.
"""

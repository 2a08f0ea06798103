"""Records in, judgements out: no torch, no text of reports.

`study.py` loads a study, `endpoints.py` has ENDPOINTS, `comparisons.py` compares arms, `paired.py` has the paired
tests, `verdicts.py` decides, `claims.py` and claims.toml state the claims and their rules, `published.py` and
published.toml the figures of papers, `self_comparison.py` compares arms with themselves, `exploratory.py` and
`bootstrap.py` describe.

To add an endpoint, write a function study -> (arm, seed) values and add a row to ENDPOINTS; presets then name it in
`analysis.endpoints`.
"""

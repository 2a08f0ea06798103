"""Studies as settings: presets, plans, and the names that presets may use.

In: TOML files (`presets/`, or the user's own) and `--set` overrides. Out: a frozen `Preset`, and a plan: a list of
`Run`, each with the identity of everything that decides its outcome. Nothing here loads torch or data.

`preset.py` has the tables of a preset with their rules, `values.py` the types and bounds of single values, `load.py`
reads files, `plan.py` makes runs, `names.py` finds the tables of names, `methods.py` has METHODS; `variants.py` derives
other studies from a preset (smoke run, ablation, equal compute, tuning), `tuning.py` draws the trials of a search.

To add a preset, write `presets/<name>.toml`. To add a method, add a row to METHODS (see CONTRIBUTING.md). To add a
setting, add a field with its bounds, and its name to `plan.LATER`, so that the identity of older records stays.
"""

"""What a study is: presets, plans, and the names that presets may use.

In: TOML files (`presets/`, or the user's own) and `--set` overrides. Out: a frozen `Preset`, and a plan: a list of
`Run`, each with the identity of everything that decides its outcome. Nothing here loads torch or data.

`preset.py` has the tables of a preset, `load.py` reads files, `plan.py` makes runs, `names.py` finds the tables of
names, `methods.py` has METHODS; `smoke.py`, `ablation.py` and `tuning.py` derive other studies from a preset.

To add a preset, write `presets/<name>.toml`. To add a method, add a row to METHODS (see CONTRIBUTING.md). A setting
that is added later goes into `plan.LATER`, so that the identity of older records stays.
"""

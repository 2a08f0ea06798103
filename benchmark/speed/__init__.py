"""The benchmark of this code: ratios of times that were measured in turns in one process, with targets.

In: a device and, for some parts, a run's checkpoint. Out: lines, each a ratio with its target (`lines.py`), which
`page.py` writes to docs/speed/*.json and docs/speed.md.

The parts of `python -m benchmark speed`: `throughput.py` compares the training loop with its limit,
`common_loop.py` with a DataLoader loop, `sba_cost.py` an augmented step with a plain one, `evaluation_cost.py` joint
with separate attacks and evaluation with training; `process_cost.py` measures start-up and memory, `gpu.py` a GPU.
`estimates.py` estimates the time of each preset.

To add a part, write a function that yields lines and name it in `lines.PARTS` and `cli/speed.py`.
"""

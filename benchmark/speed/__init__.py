"""The benchmark of this code: ratios of times that were measured in turns in one process, with targets.

`measure.py` runs the parts that `python -m benchmark speed` names and yields lines (`lines.py`); `page.py` writes
them to docs/speed/*.json and docs/speed.md. `throughput.py` compares the training loop with its limit,
`common_loop.py` with the loop that most people write, `sba_cost.py` an augmented step with a plain one,
`attack_cost.py` joint with separate attacks, `process_cost.py` start-up and memory, `gpu_*.py` and `kernels.py` look
at a GPU; `estimates.py` says what a preset would take.

To add a part, write a function that yields lines and name it in `lines.PARTS` and `measure.measure`.
"""

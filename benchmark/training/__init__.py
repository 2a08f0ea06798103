"""The training loop: one for every method, which knows none of them by name.

In: a `Run` and its data. Out: a trained `State` and a record of each epoch. `loop.py` takes the steps, `schedule.py`
has the learning rate and the budget, `state.py` everything that changes, `checkpoint.py` writes and reads it,
`compile.py` compiles before the first step, `surrogate.py` trains the network of the transfer attack.

All randomness comes from the generators in `State.streams`; the same seed gives the same run, also after an
interruption. Methods are objects from METHODS: `(model, images, labels, generator=...) -> Step`.
"""

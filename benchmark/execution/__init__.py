"""From a plan to records.

In: a list of `Run`. Out: a record of each. A run is computed by one worker at a time, on one machine or many, and
resumes from its checkpoint after any interruption. Errors that every run would meet are raised before the first one.

`worker.py` takes the runs of a plan one by one, `run.py` trains, evaluates and records one; `files.py` has all files of
a run and its status by them, `lock.py` its lock, `progress.py` what is seen of it. `launchers/` has LAUNCHERS, which
start the processes; to add one, see there.
"""

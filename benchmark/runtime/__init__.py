"""The process and its machine: devices, versions, signals, memory, files, messages.

Every other package imports from here, and this one from none. `errors.py` has the exceptions that become exit codes,
also for errors of the user's own code, `environment.py` chooses devices and describes the machine, `files.py` writes
files atomically and loads tensors without running code, `signals.py` makes SIGINT, SIGTERM and SIGHUP wait for the end
of a step, `distributed.py` joins processes, `memory.py` measures peak memory, `console.py` prints lines and progress
bars, `torchvision.py` makes torchvision importable where its compiled operators cannot load.
"""

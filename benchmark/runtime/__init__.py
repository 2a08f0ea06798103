"""The process and its machine: devices, versions, signals, memory, files, messages.

Every other package imports from here, and this one from none. `errors.py` has the exceptions that become exit codes,
`environment.py` chooses devices and describes the machine, `files.py` writes files whole or not at all, `signals.py`
lets SIGINT and SIGTERM wait for the end of a step, `distributed.py` joins processes, `console.py` prints progress,
`torchvision.py` imports torchvision where its compiled operators cannot load.
"""

"""From a plan to records.

In: a list of `Run`. Out: a record of each. Every run is computed by one worker at a time, on one machine or many, and
goes on from its checkpoint after any interruption. Preflight checks refuse before anything is computed what every run
would fail by.
"""

"""The benchmark: presets, plan, data, models, train, evaluate, records, statistics, report, command line."""

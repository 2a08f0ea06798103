"""The record of a run: one JSON file, read and written without torch.

`schema.py` has the fields, `store.py` writes files whole and reads them, also the tables beside the records,
`outcomes.py` computes accuracies and curves of one record, `consistency.py` checks that records of one study belong
together.

Records are the only input of analysis and report. They are never changed after they were written; a new field is
optional, so that older records stay readable.
"""

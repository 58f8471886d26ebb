"""Reconciliation: the stored weeks held against Xero's own totals over blocks of up to 52 weeks.

`blocks.py` divides the stored weeks, `xero_totals.py` asks Xero, `search.py` narrows a difference down to weeks, and
`reconciler.py` compares, decides which weeks are read again and records the result.
"""

"""Everything that knows SQL. Imports no Dagster and nothing of `xero/`."""

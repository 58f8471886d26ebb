"""Everything that knows Xero. Imports no Dagster and no SQL."""

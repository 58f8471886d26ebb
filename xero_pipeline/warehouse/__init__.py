"""All code that knows SQL. It imports neither Dagster nor `xero/`."""

"""Xero's weekly figures in a database, under Dagster. Importing the package wires nothing."""

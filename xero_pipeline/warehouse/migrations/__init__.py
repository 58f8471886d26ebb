"""Alembic's scripts, which travel with the package: one file a change in `versions/`, never edited later."""

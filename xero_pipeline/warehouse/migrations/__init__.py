"""Alembic's scripts, shipped in the package. Each change is one file in `versions/`, which is never edited later."""

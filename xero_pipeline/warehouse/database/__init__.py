"""The database itself: its engine, its locks, its column types, migrating it. Nothing here knows a table of ours."""

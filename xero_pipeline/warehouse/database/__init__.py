"""The database: engine, locks, column types and migrating. Nothing here knows any of the pipeline's tables."""

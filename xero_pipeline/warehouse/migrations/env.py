"""Alembic's environment: runs the scripts on the connection of `migrate`, in its transaction.

The scripts are written by hand. A test checks that they create what the tables' definitions say.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    # SQLite cannot alter a table, so Alembic creates a new one and copies the rows.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

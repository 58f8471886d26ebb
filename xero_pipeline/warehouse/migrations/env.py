"""What Alembic runs around the scripts, on the connection and in the transaction that `migrate` hands in.

Scripts are written by hand; a test holds that together they make what the tables' definitions say.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # SQLite cannot alter a table: Alembic then makes a new one and copies.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

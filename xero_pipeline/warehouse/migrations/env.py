"""What Alembic runs around the scripts, on the connection and in the transaction that `migrate` hands in."""

from alembic import context

from xero_pipeline.warehouse import call_budget, document_index, schema  # noqa: F401  (they hang their tables on the metadata)
from xero_pipeline.warehouse.metadata import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    # SQLite cannot alter a table: Alembic then makes a new one and copies.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

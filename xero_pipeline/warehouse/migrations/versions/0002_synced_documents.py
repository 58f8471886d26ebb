"""The tables of the documents in each week's figures, and of the weeks that must be read again."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _document() -> list[sa.Column[Any]]:
    return [
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("week_ending", sa.Date(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.Column("payments", sa.JSON(), nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "synced_documents",
        *_document(),
        sa.PrimaryKeyConstraint("tenant_id", "document_id", "week_ending", name="pk_synced_documents"),
    )
    op.create_table(
        "seen_documents",
        *_document(),
        sa.PrimaryKeyConstraint("tenant_id", "document_id", name="pk_seen_documents"),
    )
    op.create_table(
        "stale_weeks",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("week_ending", sa.Date(), nullable=False),
        sa.Column("read_after", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "week_ending", name="pk_stale_weeks"),
    )


def downgrade() -> None:
    op.drop_table("stale_weeks")
    op.drop_table("seen_documents")
    op.drop_table("synced_documents")

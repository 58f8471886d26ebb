"""The documents and lines that each week's revenue is made of, and how they changed.

Weeks that landed before have no documents until they are read again; `xero_sync_logs.documents` says so.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _money(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(18, 2).with_variant(sa.Text(), "sqlite"), nullable=nullable)


def _key() -> list[sa.Column[object]]:
    return [_text("tenant_id"), sa.Column("week_ending", sa.Date(), nullable=False), _text("document_id")]  # type: ignore[list-item]


def _provenance() -> list[sa.Column[object]]:
    moment = sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False)
    return [_text("data_source"), _text("currency"), moment]  # type: ignore[list-item]


def upgrade() -> None:
    op.create_table(
        "revenue_documents",
        *_key(),
        _text("document_type"),
        _text("document_number", nullable=True),
        sa.Column("document_date", sa.Date(), nullable=False),
        _text("status"),
        _text("contact_id", nullable=True),
        _text("contact_name", nullable=True),
        _text("document_currency"),
        sa.Column("currency_rate", sa.Numeric().with_variant(sa.Text(), "sqlite"), nullable=False),
        _money("net"),
        _money("tax"),
        _text("xero_url", nullable=True),
        *_provenance(),
        sa.PrimaryKeyConstraint("tenant_id", "week_ending", "document_id", name="pk_revenue_documents"),
        sa.CheckConstraint("document_type IN ('invoice', 'credit_note')", name="ck_revenue_documents_document_type"),
    )
    op.create_index("ix_revenue_documents_document", "revenue_documents", ["tenant_id", "document_id"])
    op.create_table(
        "revenue_document_lines",
        *_key(),
        sa.Column("line_number", sa.Integer(), nullable=False),
        _text("account_code", nullable=True),
        _text("item_code", nullable=True),
        _text("revenue_type"),
        _text("region"),
        _money("net"),
        _money("tax"),
        _money("document_net"),
        *_provenance(),
        sa.PrimaryKeyConstraint(
            "tenant_id", "week_ending", "document_id", "line_number", name="pk_revenue_document_lines"
        ),
    )
    op.create_table(
        "revenue_document_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        *_key(),
        _text("document_type"),
        _text("document_number", nullable=True),
        _text("contact_name", nullable=True),
        _text("account_code", nullable=True),
        _text("revenue_type"),
        _text("region"),
        _money("old_net", nullable=True),
        _money("new_net", nullable=True),
        _money("old_tax", nullable=True),
        _money("new_tax", nullable=True),
        sa.Column("restated_at", sa.DateTime(timezone=True), nullable=False),
        _text("dagster_run_id", nullable=True),
    )
    op.create_index("ix_revenue_document_changes_week", "revenue_document_changes", ["tenant_id", "week_ending"])
    op.create_index("ix_revenue_document_changes_document", "revenue_document_changes", ["tenant_id", "document_id"])
    op.add_column("xero_sync_logs", sa.Column("documents", sa.Integer()))


def downgrade() -> None:
    with op.batch_alter_table("xero_sync_logs") as batch:
        batch.drop_column("documents")
    op.drop_table("revenue_document_changes")
    op.drop_table("revenue_document_lines")
    op.drop_table("revenue_documents")

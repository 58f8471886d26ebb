"""The table of reconciliations: what Xero's totals said of a block of weeks, beside what the tables hold."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("first_week", sa.Date(), nullable=False),
        sa.Column("last_week", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("difference", _Json),
        sa.Column("weeks_read_again", sa.Integer(), nullable=False),
        sa.Column("api_calls", sa.Integer(), nullable=False),
        sa.Column("dagster_run_id", sa.Text()),
        sa.Column("checked_at", _Moment, nullable=False),
        sa.CheckConstraint("kind IN ('profit_and_loss', 'bank_summary', 'documents')", name="ck_reconciliations_kind"),
        sa.CheckConstraint("status IN ('equal', 'mended', 'differs')", name="ck_reconciliations_status"),
        sa.PrimaryKeyConstraint("id", name="pk_reconciliations"),
    )
    op.create_index("ix_reconciliations_block", "reconciliations", ["tenant_id", "kind", "first_week", "last_week"])
    op.create_index("ix_reconciliations_checked_at", "reconciliations", ["checked_at"])


def downgrade() -> None:
    op.drop_index("ix_reconciliations_checked_at", table_name="reconciliations")
    op.drop_index("ix_reconciliations_block", table_name="reconciliations")
    op.drop_table("reconciliations")

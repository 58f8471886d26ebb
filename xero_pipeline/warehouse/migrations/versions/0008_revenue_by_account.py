"""The table of each week's revenue by account, and by Xero's clock when each week was read.

Until now the search for late edits kept this machine's time. Where its clock was fast, the search began too late. So
each search begins again a day earlier, once.
"""

import datetime as dt

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_CURSORS = sa.text("SELECT tenant_id, value FROM sync_cursors WHERE name = 'late_edits'")
_SET_CURSOR = sa.text("UPDATE sync_cursors SET value = :value WHERE name = 'late_edits' AND tenant_id = :tenant_id")


def upgrade() -> None:
    op.create_table(
        "revenue_by_account",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("week_ending", sa.Date(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("net_revenue", sa.Numeric(18, 2).with_variant(sa.Text(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "week_ending", "account", name="pk_revenue_by_account"),
    )
    op.add_column("xero_sync_logs", sa.Column("read_at", sa.DateTime(timezone=True)))
    connection = op.get_bind()
    for tenant_id, value in connection.execute(_CURSORS).all():
        earlier = dt.datetime.fromisoformat(value) - dt.timedelta(days=1)
        connection.execute(_SET_CURSOR, {"value": earlier.isoformat(), "tenant_id": tenant_id})


def downgrade() -> None:
    op.drop_column("xero_sync_logs", "read_at")
    op.drop_table("revenue_by_account")

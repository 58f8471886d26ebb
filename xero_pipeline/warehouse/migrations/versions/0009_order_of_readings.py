"""Whether a sync changed its figures, and which process holds a permit."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("xero_sync_logs", sa.Column("figures_changed", sa.Boolean()))
    op.add_column("call_slots", sa.Column("holder", sa.Text()))


def downgrade() -> None:
    with op.batch_alter_table("call_slots") as batch:
        batch.drop_column("holder")
    with op.batch_alter_table("xero_sync_logs") as batch:
        batch.drop_column("figures_changed")

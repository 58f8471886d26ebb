"""The table of accepted differences: who accepted that a week's figures differ from Xero's totals, and by how much."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "accepted_differences",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("sync_type", sa.Text(), nullable=False),
        sa.Column("week_ending", sa.Date(), nullable=False),
        sa.Column("difference", _Json, nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("accepted_by", sa.Text(), nullable=False),
        sa.Column("accepted_at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accepted_differences"),
    )
    op.create_index("ix_accepted_differences_week", "accepted_differences", ["tenant_id", "sync_type", "week_ending"])


def downgrade() -> None:
    op.drop_index("ix_accepted_differences_week", table_name="accepted_differences")
    op.drop_table("accepted_differences")

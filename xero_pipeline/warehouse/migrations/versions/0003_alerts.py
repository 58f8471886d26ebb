"""The tables of the alerts, their occurrences and their deliveries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("details", _Json, nullable=False),
        sa.Column("quiet_seconds", sa.Integer(), nullable=False),
        sa.Column("occurrences", sa.Integer(), nullable=False),
        sa.Column("opened_at", _Moment, nullable=False),
        sa.Column("last_seen_at", _Moment, nullable=False),
        sa.Column("recovered_at", _Moment),
        sa.Column("recovery_text", sa.Text()),
        sa.PrimaryKeyConstraint("cause", name="pk_alerts"),
    )
    op.create_index("ix_alerts_last_seen_at", "alerts", ["last_seen_at"])
    op.create_table(
        "alert_occurrences",
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("occurrence", sa.Text(), nullable=False),
        sa.Column("seen_at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("cause", "occurrence", name="pk_alert_occurrences"),
    )
    op.create_table(
        "alert_deliveries",
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.Column("said", sa.Text()),
        sa.Column("last_sent_at", _Moment),
        sa.Column("claim", sa.Text()),
        sa.Column("claimed_until", _Moment),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.CheckConstraint("said IN ('problem', 'recovered')", name="ck_alert_deliveries_said"),
        sa.PrimaryKeyConstraint("cause", "address", name="pk_alert_deliveries"),
    )


def downgrade() -> None:
    op.drop_table("alert_deliveries")
    op.drop_table("alert_occurrences")
    op.drop_index("ix_alerts_last_seen_at", table_name="alerts")
    op.drop_table("alerts")

"""The tables of persons, sessions and the audit log; whom a pending consent belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Moment = sa.DateTime(timezone=True)
_CONSENT_COLUMNS = ("who", "role", "origin", "credential", "session_hash")


def upgrade() -> None:
    op.create_table(
        "access_tokens",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text()),
        sa.Column("created_at", _Moment, nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'owner')", name="ck_access_tokens_role"),
        sa.PrimaryKeyConstraint("name", name="pk_access_tokens"),
        sa.UniqueConstraint("token_hash", name="uq_access_tokens_token_hash"),
    )
    op.create_table(
        "admin_sessions",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        sa.Column("session_hash", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("credential", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("began_at", _Moment, nullable=False),
        sa.Column("last_seen_at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_admin_sessions"),
        sa.UniqueConstraint("session_hash", name="uq_admin_sessions_session_hash"),
        # Without this, SQLite gives the id of a deleted newest session to the next one.
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit_log",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        sa.Column("at", _Moment, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"])
    # Consents that began before this migration belong to nobody. They live for ten minutes.
    for name in _CONSENT_COLUMNS:
        op.add_column("oauth_states", sa.Column(name, sa.Text()))
    op.add_column("oauth_states", sa.Column("ended_at", _Moment))


def downgrade() -> None:
    with op.batch_alter_table("oauth_states") as batch:
        for name in ("ended_at", *_CONSENT_COLUMNS):
            batch.drop_column(name)
    op.drop_index("ix_audit_log_at", table_name="audit_log")
    op.drop_table("audit_log")
    op.drop_table("admin_sessions")
    op.drop_table("access_tokens")

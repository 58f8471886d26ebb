"""Xero's ids in one spelling, so that a row in other capitals is the same row in every week.

A row whose right spelling the week has already stays as it is: somebody has inserted it, the check `no_duplicates`
names it, and the week's next sync removes it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Each column of ids, and whether a row's key has the week as well.
_COLUMNS = (
    ("financial_weekly_lines", "account_id", True),
    ("cash_position_weekly", "bank_account_id", True),
    ("synced_documents", "document_id", True),
    ("seen_documents", "document_id", False),
)
# The grouped currency gains stand where an account's id is expected. They keep Xero's own spelling.
_CURRENCY_GAINS = "FXGROUPID"


def upgrade() -> None:
    for name, id_column, has_week in _COLUMNS:
        rows = sa.table(name, *map(sa.column, ("tenant_id", "week_ending", id_column)))
        other = rows.alias("other")
        spelling, other_spelling = rows.c[id_column], other.c[id_column]
        # Of several wrong spellings in one week only one can become the right one.
        goes_first = sa.or_(other_spelling == _normalise(spelling), other_spelling < spelling)
        same_row = [other.c.tenant_id == rows.c.tenant_id, _normalise(other_spelling) == _normalise(spelling)]
        if has_week:
            same_row.append(other.c.week_ending == rows.c.week_ending)
        taken = sa.exists().where(*same_row, other_spelling != spelling, goes_first)
        _execute(
            sa.update(rows).where(spelling != _normalise(spelling), ~taken).values({id_column: _normalise(spelling)})
        )
    changes = sa.table("restatements", sa.column("table_name"), sa.column("row_key"))
    _execute(
        sa.update(changes)
        .where(
            changes.c.table_name.in_(["financial_weekly_lines", "cash_position_weekly"]),
            changes.c.row_key != _normalise(changes.c.row_key),
        )
        .values(row_key=_normalise(changes.c.row_key))
    )


def _execute(statement: sa.Update) -> None:
    # With its values in its text, as every other statement of a migration.
    compiled = statement.compile(dialect=op.get_bind().dialect, compile_kwargs={"literal_binds": True})
    op.execute(sa.text(str(compiled)))


def _normalise(spelling: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    trimmed = sa.func.trim(spelling)
    return sa.case((sa.func.upper(trimmed) == _CURRENCY_GAINS, _CURRENCY_GAINS), else_=sa.func.lower(trimmed))


def downgrade() -> None:
    """Nothing to undo: the older version reads this spelling too."""

"""The `MetaData` of every table of the warehouse, with the naming rules for constraints.

No table is defined here. Figures, tokens and the sync log are in `schema.py`, the call permits in
`call_budget/counts.py`.
"""

from __future__ import annotations

from sqlalchemy import MetaData

# Every constraint has a name, so that Alembic can change it on both databases.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

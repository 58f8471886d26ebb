"""The one `MetaData` that every table of the warehouse hangs on, with the names of constraints.

No table is defined here: the figures, tokens and logs are in `schema.py`, the slots of calls in
`counts.py`.
"""

from __future__ import annotations

from sqlalchemy import MetaData

# Named constraints, so that Alembic can change each of them on both databases.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

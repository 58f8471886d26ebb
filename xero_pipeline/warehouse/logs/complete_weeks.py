"""Which weeks every connected organisation has landed."""

from __future__ import annotations

from sqlalchemy import Engine, exists, select

from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.warehouse.schema import xero_tokens as tokens


def is_week_complete(engine: Engine, kind: SyncType, week: Period) -> bool:
    """Whether every connected organisation has landed these figures of the week or month, in this run or in another.

    An organisation that has to be connected again does not count: nothing of it can land.
    """
    has_landed = exists().where(
        logs.c.tenant_id == tokens.c.tenant_id,
        logs.c.sync_type == kind.value,
        logs.c.week_ending == week.ending,
        logs.c.status.in_(LANDED),
    )
    lacking = select(tokens.c.tenant_id).where(tokens.c.status == ConnectionStatus.CONNECTED.value, ~has_landed)
    with engine.connect() as connection:
        return connection.execute(lacking.limit(1)).first() is None

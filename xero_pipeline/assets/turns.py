"""Two runs never read the same weeks of an organisation at the same time: one waits for its turn.

Dagster's queue keeps runs of the same organisations apart, not runs that have some organisations in common. So a run
holds a lock for every organisation whose weeks it reads, whichever tables it has, and an organisation that another run
is reading comes last. Where a lock is lost with its server, the later reading replaces the whole week all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from xero_pipeline.periods import Period
from xero_pipeline.warehouse.database.locks import Locks
from xero_pipeline.xero.client import OrganisationClient

# A lock is for so many weeks of an organisation. A sync of the latest weeks does not wait for one of older years.
_WEEKS_PER_LOCK = 52
# SQLite's locks are open files, of which a process may have 1024.
_MOST_LOCKS = 200
# Seconds: as long as a run may take (`max_runtime_seconds` in dagster.yaml).
_LONGEST_WAIT = 21_600.0


@contextmanager
def take_turn(
    locks: Locks,
    organisations: Sequence[OrganisationClient],
    weeks: Sequence[Period],
    on_wait: Callable[[OrganisationClient], None],
) -> Iterator[list[OrganisationClient]]:
    """Hold the locks of some of the organisations for the block, and yield these: all whose weeks nobody reads.

    Where somebody reads weeks of each of them, call `on_wait` and wait for the first one. That waits with no lock of
    another organisation in hand, so runs cannot wait for each other.

    Raises:
        LockTimeout: the other run was not over after six hours.
    """
    names = {one.tenant_id: _name_locks(one.tenant_id, weeks) for one in organisations}
    tried = organisations[: max(1, _MOST_LOCKS // len(names[organisations[0].tenant_id]))]
    with locks.hold_free([name for one in tried for name in names[one.tenant_id]]) as held:
        free = [one for one in tried if held.issuperset(names[one.tenant_id])]
        if free:
            yield free
            return
    on_wait(organisations[0])
    with ExitStack() as stack:
        for name in names[organisations[0].tenant_id]:
            stack.enter_context(locks.hold(name, _LONGEST_WAIT))
        yield [organisations[0]]


def _name_locks(tenant_id: str, weeks: Sequence[Period]) -> list[str]:
    blocks = sorted({week.ending.toordinal() // (7 * _WEEKS_PER_LOCK) for week in weeks})
    return [f"sync-{weeks[0].NOUN}-{tenant_id}-{block}" for block in blocks]

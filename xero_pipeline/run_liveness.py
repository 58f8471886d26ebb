"""Whether the process of a run is still alive.

A run holds a lock while it works. When its process ends, however it ends, the operating system (SQLite) or the server
(PostgreSQL) frees the lock. So any other process can find out whether the run is alive.
"""

from __future__ import annotations

import os
import socket
from contextlib import AbstractContextManager

from xero_pipeline.warehouse.database.locks import Locks

WORKER_TAG = "xero_pipeline/worker"
"""The tag of a run whose process holds the run lock while it works. Its value names the machine and the process."""


def build_worker_tags() -> dict[str, str]:
    """Build the tag `WORKER_TAG` for a run in this process."""
    return {WORKER_TAG: f"{socket.gethostname()}/{os.getpid()}"}


def hold_run_lock(locks: Locks, run_id: str) -> AbstractContextManager[None]:
    """Hold the run's lock for the block."""
    return locks.hold_liveness(run_lock_name(run_id))


def is_run_alive(locks: Locks, run_id: str) -> bool:
    """Whether a process holds the run's lock. Only meaningful for a run with the tag `WORKER_TAG`."""
    return locks.is_held(run_lock_name(run_id))


def run_lock_name(run_id: str) -> str:
    return f"run-{run_id}"

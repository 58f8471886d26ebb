"""Whether the process of a run is still alive.

A run of ours holds a lock for as long as it works. The operating system (SQLite) or the server (PostgreSQL) frees it
with the process, however that ended, so any other process can find out.
"""

from __future__ import annotations

import os
import socket
from contextlib import AbstractContextManager

from xero_pipeline.warehouse.database.locks import Locks

WORKER = "xero_pipeline/worker"
"""The tag of a run whose process holds the run lock while it works. Its value names the machine and the process."""


def worker_tag() -> dict[str, str]:
    """The tag `WORKER` for a run in this process."""
    return {WORKER: f"{socket.gethostname()}/{os.getpid()}"}


def hold_run_lock(locks: Locks, run_id: str) -> AbstractContextManager[None]:
    """Hold the run's lock for the block."""
    return locks.live(run_lock_name(run_id))


def is_run_alive(locks: Locks, run_id: str) -> bool:
    """Whether a process holds the run's lock. Says nothing about a run without the tag `WORKER`."""
    return locks.lives(run_lock_name(run_id))


def run_lock_name(run_id: str) -> str:
    return f"run-{run_id}"

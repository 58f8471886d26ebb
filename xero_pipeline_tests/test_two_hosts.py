"""Two hosts that share nothing but PostgreSQL and Xero, in a short form of `benchmarks/two_hosts.py`."""

from __future__ import annotations

import os
import shutil
import subprocess

import psycopg
import pytest

from benchmarks.two_hosts import POSTGRES, prove


def are_namespaces_allowed() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    attempt = "ip link add xptest0 type bridge && ip link del xptest0"
    return subprocess.run(["unshare", "--net", "sh", "-c", attempt], capture_output=True).returncode == 0


def is_postgres_there() -> bool:
    try:
        psycopg.connect(dbname="postgres", **POSTGRES).close()
    except psycopg.OperationalError:
        return False
    return True


# Half a minute, in which the other tests wait: CI's time is limited.
@pytest.mark.skipif(os.environ.get("TWO_HOSTS") != "1", reason="TWO_HOSTS=1 runs it")
@pytest.mark.skipif(not are_namespaces_allowed(), reason="no network namespaces are allowed here")
@pytest.mark.skipif(not is_postgres_there(), reason="no PostgreSQL on this machine")
def test_runs_on_two_hosts_land_every_week_as_the_books_have_it_within_xeros_limits() -> None:
    counted = prove(2, 2, lose_a_host=False, seconds=120)
    assert (counted["landed"], counted["runs"], counted["refused"]) == (12, 2, {})

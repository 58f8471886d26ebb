"""Several servers as one: what they started ends with them, and is given the time to end well."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

RUN = """
import sys
from pathlib import Path
from xero_pipeline.cli.supervise import run_together
run_together({"server": [sys.executable, sys.argv[1]]}, cwd=Path(sys.argv[2]), environment=__import__("os").environ)
"""
WORKER = """
import signal, sys, time
from pathlib import Path
def end(*_):
    time.sleep(1)
    Path("saved").write_text("the worker's last row")
    sys.exit()
signal.signal(signal.SIGINT, end)
Path("ready").touch()
time.sleep(60)
"""
SERVER = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {WORKER!r}])
time.sleep(60)
"""


def test_what_a_server_started_may_finish_although_the_server_itself_has_ended(tmp_path: Path) -> None:
    """A run's worker marks its weeks as interrupted; on a busy machine it was killed before it had."""
    (tmp_path / "server.py").write_text(SERVER)
    supervisor = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path / "server.py"), str(tmp_path)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        os.sched_yield()
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(60) == 0
    assert (tmp_path / "saved").exists()


WAITING = """
import sys
from pathlib import Path
from xero_pipeline.cli.supervise import ServerEnded, run_together
there = Path(sys.argv[1])
touch = f"import pathlib, time; time.sleep(0.5); pathlib.Path({str(there)!r}).touch(); time.sleep(60)"
first = [sys.executable, "-c", touch]
second = [sys.executable, "-c", f"import pathlib, sys; sys.exit(not pathlib.Path({str(there)!r}).exists())"]
try:
    run_together({"second": second, "first": first}, cwd=there.parent, environment={}, waits={"second": there.exists})
except ServerEnded as error:
    print(error)
"""


def test_a_server_that_needs_another_one_starts_after_it(tmp_path: Path) -> None:
    """A daemon that started before the code server failed the backfill that it found."""
    command = [sys.executable, "-c", WAITING, str(tmp_path / "there")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.startswith("second ended by itself.")
    assert (tmp_path / "there").exists()

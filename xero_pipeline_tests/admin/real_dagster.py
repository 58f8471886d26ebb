"""A real Dagster webserver with our code location, in its own folder. It launches runs at once.

There is no daemon: runs are not queued, and no schedule or sensor ticks.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

import xero_pipeline

ROOT = Path(xero_pipeline.__file__).parent.parent
_STARTS_WITHIN = 60.0

# As with Dagster's Helm chart, the code location has a name of the deployer's own, without an underscore.
_WORKSPACE = """\
load_from:
  - python_module: {module_name: xero_pipeline.definitions, location_name: the-books}
"""
_DAGSTER_YAML = """\
telemetry: {enabled: false}
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
"""


def find_tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def find_free_port() -> int:
    """Find a port that stays free until the server that needs it has started.

    The ports lie below the range from which the system gives ports to clients, and each test worker has its own part.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + 1_000 * (worker % 12)
    for port in random.Random().sample(range(first, first + 1_000), 1_000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")


@contextmanager
def run_dagster(home: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run Dagster's webserver while the block runs, and yield its address.

    Args:
        home: its `DAGSTER_HOME`.
        environment: the deployment's settings, for the code location.
    """
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(_DAGSTER_YAML)
    (home / "workspace.yaml").write_text(_WORKSPACE)
    port = find_free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("XERO_", "DAGSTER_"))}
    command = [find_tool("dagster-webserver"), "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    with (home / "webserver.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=home,
            env={
                **inherited,
                **environment,
                "DAGSTER_HOME": str(home),
                "PYTHONPATH": str(ROOT),
                "PYTHONWARNINGS": "ignore",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, home / "webserver.log")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        # Kill a code server that it may have left behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/server_info", timeout=1).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise RuntimeError(f"Dagster did not start:\n{log.read_text()[-2000:]}")

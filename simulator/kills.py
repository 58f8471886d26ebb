"""Real processes, real kills: `python -m simulator.kills --kills 200 --database postgresql`.

A deployment in a folder of its own runs as deploy/README.md says: code server, daemon, admin page and Dagster's web
server, over SQLite or over a PostgreSQL server of its own. While somebody edits the books, SIGKILL ends at moments that
a seed draws what the seed draws: a sync by hand, a run's worker, one of the servers, or the whole PostgreSQL server.
What runs for ever is started again, as systemd does. Afterwards nobody does anything any more: `late_edits` and
`missing_weeks` have to find by themselves what is left, every table has to equal the books, and nothing may be left
over. The kills of `make simulate` are a model; these are not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import yaml
from sqlalchemy import Engine

from benchmarks.deployments import find_free_port
from benchmarks.two_hosts import wait_until
from simulator.laws import FigureLaws, find_leftovers
from simulator.truth import Truth
from xero_pipeline.clock import SystemClock
from xero_pipeline.mock_xero import DEFAULT_ORGANISATIONS, MockXero
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.weeks import Week

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent
TENANT = DEFAULT_ORGANISATIONS[0].tenant_id
WEEKS = 3
LOOKS_EVERY = 15
# What is killed, and how often by comparison.
VICTIMS = {"sync": 8, "worker": 5, "daemon": 2, "code": 2, "admin": 1, "ui": 1, "postgresql": 2}


class PostgresServer:
    """A PostgreSQL server of its own, which keeps what it has committed: its disk writes are as in production."""

    def __init__(self, folder: Path) -> None:
        self.port = find_free_port()
        self._folder = folder
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or [Path(shutil.which("postgres") or "")]
        self._programs = programs[-1].parent
        folder.mkdir()
        # PostgreSQL refuses to run as root.
        self._as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as_owner:
            shutil.chown(folder, "postgres")
        initdb = [str(self._programs / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust"]
        subprocess.run([*self._as_owner, *initdb], check=True, capture_output=True, cwd=folder)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        with self.connect("postgres") as connection:
            for name in ("figures", "dagster"):
                connection.execute(f"CREATE DATABASE {name}")

    def start(self) -> None:
        # A server that was killed leaves its file behind.
        (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        options = ["-c", f"port={self.port}", "-c", "unix_socket_directories=", "-c", "shared_memory_type=mmap"]
        self._process = subprocess.Popen(
            [*self._as_owner, str(self._programs / "postgres"), "-D", str(self._folder / "data"), *options],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(300):
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                time.sleep(0.2)
        raise RuntimeError("the PostgreSQL server did not start")

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True)

    def kill(self) -> None:
        """End all its processes at once, as a power cut does."""
        if self._process is not None:
            for pid in _list_descendants(self._process.pid):
                _kill(pid)
            self._process.wait()


@dataclass
class Deployment:
    """The deployment, its Xero, and what runs of it.

    Its Xero is the mock in each process, whose refresh tokens change, or a server beside it with a disk of its own.
    """

    folder: Path
    draw: random.Random
    postgres: PostgresServer | None
    xero_folder: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    servers: dict[str, tuple[list[str], subprocess.Popen[bytes]]] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.environment = {
            "PATH": f"{TOOLS}:{os.environ['PATH']}",
            "DAGSTER_HOME": str(self.folder),
            "XERO_ENCRYPTION_KEY": secrets.token_hex(32),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "LATE_EDITS_SECONDS": str(LOOKS_EVERY),
            "MISSING_WEEKS_SECONDS": str(LOOKS_EVERY),
            "SERVER_URL": f"http://localhost:{find_free_port()}",
        }
        xero_home = self._start_xero(self.xero_folder) if self.xero_folder else self.folder
        self.environment["XERO_MOCK_MODE"] = str(self.xero_folder is None).lower()
        clock = SystemClock()
        self.weeks = [Week.containing(clock.now().date()).shift(-number) for number in range(1, WEEKS + 1)]
        self.environment["PIPELINE_START_DATE"] = str(self.weeks[-1].start)
        if self.postgres is None:
            shutil.copy(ROOT / "dagster.yaml", self.folder)
        else:
            shutil.copy(ROOT / "deploy" / "dagster.yaml", self.folder)
            self.environment |= {
                "DATABASE_URL": f"postgresql+psycopg://postgres@127.0.0.1:{self.postgres.port}/figures",
                "DAGSTER_PG_HOST": "127.0.0.1",
                "DAGSTER_PG_PORT": str(self.postgres.port),
                "DAGSTER_PG_USERNAME": "postgres",
                "DAGSTER_PG_PASSWORD": "none",
                "DAGSTER_PG_DB": "dagster",
            }
        self._code_port = find_free_port()
        location = {"host": "127.0.0.1", "port": self._code_port, "location_name": "xero"}
        (self.folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": location}]}))
        self.run("xero-pipeline", "migrate")
        self.run("xero-pipeline", "connect")
        self.mock = MockXero(xero_home / "data" / "mock-xero.db", clock)
        self.books = self.mock.books(TENANT)

    def _start_xero(self, home: Path) -> Path:
        """Start the mock as a server, which the deployment takes for Xero, and return its folder."""
        port = find_free_port()
        (home / "data").mkdir(parents=True)
        self._xero = subprocess.Popen(
            [TOOLS / "xero-pipeline", "mock-xero", "--port", str(port), "--state", home / "data" / "mock-xero.db"],
            cwd=home,
            env={**self.environment, "DAGSTER_HOME": str(home), "XERO_MOCK_MODE": "true"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: _is_open(port), "the mock", 60)
        self.environment |= {
            "XERO_CLIENT_ID": "app",
            "XERO_CLIENT_SECRET": secrets.token_urlsafe(32),
            "XERO_GRANT": "client_credentials",
            "XERO_API_URL": f"http://localhost:{port}",
            "XERO_IDENTITY_URL": f"http://localhost:{port}",
        }
        return home

    def open_figures(self) -> Engine:
        return open_engine(
            self.environment.get("DATABASE_URL", f"sqlite:///{self.folder / 'data' / 'xero.db'}"),
        )

    # ---- what runs ----------------------------------------------------------------------------------------------

    def start_servers(self) -> None:
        """Start what deploy/README.md says, and switch on the sensors that put things right."""
        code = ["dagster", "code-server", "start", "-m", "xero_pipeline.definitions", "--host", "127.0.0.1"]
        self._keep_running("code", [*code, "--port", str(self._code_port)])
        wait_until(lambda: _is_open(self._code_port), "the code server", 120)
        for sensor in ("missing_weeks", "late_edits"):
            self.run("dagster", "sensor", "start", sensor, "-w", "workspace.yaml", "-l", "xero")
        self._keep_running("daemon", ["dagster-daemon", "run", "--workspace", "workspace.yaml"])
        ui = ["dagster-webserver", "--host", "127.0.0.1", "--port", str(find_free_port()), "--path-prefix", "/dagster"]
        self._keep_running("ui", [*ui, "--workspace", "workspace.yaml"])
        self._keep_running("admin", ["xero-pipeline", "admin"])

    def stop_servers(self) -> None:
        for _, process in self.servers.values():
            _kill_all(process)

    def restart_ended(self) -> None:
        """Start again what has ended, by a kill or by itself, as systemd does."""
        for name, (command, process) in list(self.servers.items()):
            if process.poll() is not None:
                self._keep_running(name, command)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{Path(command[0]).name}.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, *command: str) -> None:
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True, capture_output=True)

    def _keep_running(self, name: str, command: list[str]) -> None:
        self.servers[name] = command, self.start(*command)

    # ---- what is killed -----------------------------------------------------------------------------------------

    def kill_something(self, longest: float) -> None:
        """Edit the books, and kill what the seed draws, at a moment that the seed draws."""
        names = [name for name in VICTIMS if name != "postgresql" or self.postgres]
        victim = self.draw.choices(names, [VICTIMS[name] for name in names])[0]
        self.edit()
        seconds = self.draw.uniform(0.3, longest)
        if victim == "sync":
            processes = [
                self.start("xero-pipeline", "sync", "--weeks", "2") for _ in range(self.draw.choice((1, 1, 2)))
            ]
            time.sleep(seconds)
            for process in processes:
                if process.poll() is None:
                    self.killed["sync"] += 1
                _kill_all(process)
        elif victim == "worker":
            workers = self._wait_for_workers(3 * LOOKS_EVERY)
            time.sleep(seconds)
            if workers:
                worker = self.draw.choice(workers)
                self.killed["worker"] += _kill(worker)
        elif victim == "postgresql" and self.postgres:
            time.sleep(seconds / 2)
            self.postgres.kill()
            self.killed[victim] += 1
            time.sleep(self.draw.uniform(0.0, 5.0))
            self.postgres.start()
        else:
            time.sleep(seconds / 2)
            _kill_all(self.servers[victim][1], with_children=self.draw.random() < 0.5)
            self.killed[victim] += 1
        self.restart_ended()

    def _wait_for_workers(self, seconds: float) -> list[int]:
        """The processes of the runs that are going on: the sensors ask for some after each edit."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            found = [pid for pid, line in _list_processes() if "multiprocessing.spawn" in line and self._is_own(pid)]
            if found:
                return found
            self.restart_ended()
            time.sleep(0.3)
        return []

    def _is_own(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").resolve() == self.folder.resolve()
        except OSError:
            return False

    def edit(self) -> None:
        week = self.draw.choice(self.weeks[:2])
        documents = [one for one in self.books.documents(week) if one.kind.value == "ACCREC" and one.status.is_counted]
        self.mock.edit_invoice(TENANT, self.draw.choice(documents).id, change=Decimal(self.draw.randint(1, 9999)) / 100)

    # ---- what must hold -----------------------------------------------------------------------------------------

    def find_problems(self) -> list[str]:
        """Compare every table with the books, and look for what is left over."""
        engine, clock = self.open_figures(), SystemClock()
        try:
            laws = FigureLaws(engine, {TENANT: Truth(self.books, clock.now, cash_basis=False)})
            laws.refresh(TENANT, self.weeks)
            laws.hold_exact(TENANT, self.weeks, clock.now())
            # The permits of a killed process are free once somebody needs one, at the latest when their lease ends.
            return laws.broken + find_leftovers(engine, clock.now() + timedelta(minutes=10))
        finally:
            engine.dispose()

    def close(self) -> None:
        self.stop_servers()
        for pid, line in _list_processes():
            if "multiprocessing.spawn" in line and self._is_own(pid):
                _kill(pid)
        self.mock.close()
        if self.xero_folder:
            _kill_all(self._xero)
        if self.postgres:
            self.postgres.kill()


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _list_processes() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue


def _list_descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _kill_all(process: subprocess.Popen[bytes], *, with_children: bool = True) -> None:
    for pid in _list_descendants(process.pid) if with_children else [process.pid]:
        _kill(pid)
    process.wait()


@contextmanager
def run_deployment(seed: int, database: str, *, with_xero_apart: bool = False) -> Iterator[Deployment]:
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)
        postgres = PostgresServer(Path(folder) / "postgresql") if database == "postgresql" else None
        if postgres:
            stack.callback(postgres.kill)
        home = Path(folder) / "home"
        home.mkdir()
        xero_folder = Path(folder) / "xero" if with_xero_apart else None
        deployment = Deployment(home, random.Random(seed), postgres, xero_folder)
        stack.callback(deployment.close)
        yield deployment


def kill(
    seed: int, kills: int, database: str, *, longest: float = 8.0, patience: float = 900.0
) -> tuple[Counter[str], list[str], float]:
    """Kill so often, then wait until everything is right.

    Returns:
        What was killed, the problems that were left when patience ended, and the seconds until none was left.
    """
    with run_deployment(seed, database) as deployment:
        deployment.start_servers()
        while deployment.killed.total() < kills:
            deployment.kill_something(longest)
        began = time.monotonic()
        problems = ["nothing was compared"]
        while problems and time.monotonic() < began + patience:
            time.sleep(LOOKS_EVERY / 3)
            deployment.restart_ended()
            problems = deployment.find_problems()
        if problems:
            keep = Path(tempfile.mkdtemp(prefix="kills-kept-"))
            shutil.copytree(deployment.folder, keep / "home", ignore=shutil.ignore_patterns("*.sock"))
            problems.append(f"the deployment's folder is kept in {keep}")
        return deployment.killed, problems, time.monotonic() - began


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m simulator.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--longest", type=float, default=8.0, help="seconds until a kill, at most")
    parser.add_argument("--patience", type=float, default=900.0, help="seconds within which all has to be right")
    options = parser.parse_args(arguments)
    killed, problems, seconds = kill(
        options.seed, options.kills, options.database, longest=options.longest, patience=options.patience
    )
    outcome = f"right after {seconds:.0f} s without a hand: every table equals the books, and nothing is left"
    print(json.dumps({"seed": options.seed, "database": options.database, "killed": dict(killed)}))
    print("\n".join(problems) or outcome)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

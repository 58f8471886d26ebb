"""Two hosts that share nothing but PostgreSQL and Xero: `python -m benchmarks.two_hosts [--lose-a-host]`, as root.

Each host is a network namespace with a folder of its own and the processes that deploy/README.md names: a code server
on both, the daemon on the first. Half of the runs go to each code server. With `--lose-a-host` everything on the second
host is killed in the middle and its link is cut; its runs have to be found dead and their weeks read again without a
hand. At the end every table is compared with the books of `xero_server.py`, which enforces Xero's limits.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import yaml

from benchmarks.deployments import MeasuredDeployment, Server, serve_xero
from benchmarks.xero_server import MATERIALS, RENT, SALES, WAGES, Books, get_tenant

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent
# An access token is valid for so many seconds, and is refreshed two minutes before it expires.
TOKEN_SECONDS, REFRESHED_BEFORE = 180, 120
# One of its own for each process, so that two of them do not meet.
NETWORK = f"10.77.{os.getpid() % 250}"
POSTGRES = {"host": "127.0.0.1", "port": 5432, "user": "postgres"}
PER_MINUTE = 60
# A line from a port of the host's own loopback to the same port of the machine outside: `port address`, one for each
# argument. Inside, PostgreSQL and Xero are on loopback, as plain HTTP has to be.
# The outer end notices a lost host as PostgreSQL does (`_SERVER_KEEPALIVES` of `warehouse/database/engine.py`).
RELAY = """
import asyncio, socket, sys
async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def serve(listen, port, target):
    async def relay(reader, writer):
        try:
            to_reader, to_writer = await asyncio.open_connection(target, port)
        except OSError:
            writer.close()
            return
        client = writer.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
            client.setsockopt(socket.IPPROTO_TCP, option, seconds)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
        await asyncio.gather(copy(reader, to_writer), copy(to_reader, writer))
    await asyncio.start_server(relay, listen, port)
async def main():
    for line in sys.argv[1:]:
        listen, port, target = line.split()
        await serve(listen, int(port), target)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def run_ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


@dataclass
class Host:
    """A network namespace with its processes."""

    number: int
    name: str
    home: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{NETWORK}.{10 + self.number}"

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                cwd=self.home,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self.processes.append(process)
        return process

    def lose(self) -> None:
        """Cut the link and kill every process, as a power cut does."""
        run_ip("-n", self.name, "link", "set", "eth0", "down", check=False)
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout.split()
        for pid in map(int, pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()


@contextmanager
def create_hosts(folder: Path, environment: dict[str, str], ports: list[int], prefix: str) -> Iterator[list[Host]]:
    """Create two hosts behind a bridge, each with relays to these ports of this machine."""
    bridge, hosts = f"{prefix}br", []
    run_ip("link", "add", bridge, "type", "bridge")
    outside = None
    try:
        run_ip("addr", "add", f"{NETWORK}.1/24", "dev", bridge)
        run_ip("link", "set", bridge, "up")
        lines = [f"{NETWORK}.1 {port} 127.0.0.1" for port in ports]
        outside = subprocess.Popen([sys.executable, "-c", RELAY, *lines])
        for number in (1, 2):
            home = folder / f"host-{number}"
            home.mkdir()
            host = Host(number, f"{prefix}{number}", home, environment | {"DAGSTER_HOME": str(home)})
            hosts.append(host)
            run_ip("netns", "add", host.name)
            run_ip("link", "add", f"{host.name}v", "type", "veth", "peer", "name", "eth0", "netns", host.name)
            run_ip("link", "set", f"{host.name}v", "master", bridge, "up")
            for device in ("lo", "eth0"):
                run_ip("-n", host.name, "link", "set", device, "up")
            run_ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            shutil.copy(ROOT / "deploy" / "dagster.yaml", home)
            lines = [f"127.0.0.1 {port} {NETWORK}.1" for port in ports]
            host.start("relay", [sys.executable, "-c", RELAY, *lines])
        yield hosts
    finally:
        for host in hosts:
            host.lose()
            run_ip("netns", "del", host.name, check=False)
        if outside is not None:
            outside.terminate()
            outside.wait()
        run_ip("link", "del", bridge, check=False)


@contextmanager
def create_databases(*names: str) -> Iterator[None]:
    with psycopg.connect(dbname="postgres", autocommit=True, **POSTGRES) as server:
        for name in names:
            server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield
        finally:
            for name in names:
                server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def start_dagster(hosts: list[Host]) -> None:
    """Start a code server on each host and the daemon on the first."""
    servers = [
        {"grpc_server": {"host": host.address, "port": 4000, "location_name": f"host-{host.number}"}} for host in hosts
    ]
    for host in hosts:
        (host.home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": servers}))
        command = [str(TOOLS / "dagster"), "code-server", "start", "-m", "xero_pipeline.definitions"]
        host.start("code", [*command, "--host", "0.0.0.0", "--port", "4000"])  # noqa: S104 - inside the namespace
    for host in hosts:
        check = ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/4000"]
        wait_until(lambda host=host, check=check: host.start("check", check).wait() == 0, "a code server", 90)
    hosts[0].start("daemon", [str(TOOLS / "dagster-daemon"), "run", "--workspace", "workspace.yaml"])


def launch_run(host: Host, location: str, tenants: list[str], first: date, last: date) -> subprocess.Popen[bytes]:
    sunday = timedelta(days=6)
    tags = {
        "dagster/asset_partition_range_start": str(first - sunday),
        "dagster/asset_partition_range_end": str(last - sunday),
        "xero_pipeline/tenants": ",".join(tenants),
    }
    assets = ("financial_weekly", "revenue_weekly", "cash_position_weekly")
    config = {"ops": {asset: {"config": {"organisations": tenants}} for asset in assets}}
    command = [str(TOOLS / "dagster"), "job", "launch", "-w", "workspace.yaml", "-l", location, "-j", "weekly_sync"]
    return host.start("launch", [*command, "--config-json", json.dumps(config), "--tags", json.dumps(tags)])


def wait_until(is_so: Any, what: str, seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > ends_at:
            raise RuntimeError(f"{what} did not come within {seconds:g} seconds")
        time.sleep(1)


def find_differences(database: str, weeks: list[date], organisations: int, books: Books) -> list[str]:
    """Compare every landed figure with the books."""
    found = []
    with psycopg.connect(dbname=database, **POSTGRES) as connection:
        rows = connection.execute(
            "SELECT tenant_id, week_ending, total_trading_income, cost_of_sales, operating_expenses "
            "FROM financial_weekly"
        )
        profits = {(row[0], row[1]): row[2:] for row in rows}
        rows = connection.execute("SELECT tenant_id, week_ending, closing_balance FROM cash_position_weekly")
        balances = {(row[0], row[1]): row[2] for row in rows}
        rows = connection.execute(
            "SELECT tenant_id, week_ending, sum(net_revenue) FROM revenue_weekly GROUP BY tenant_id, week_ending"
        )
        revenues = {(row[0], row[1]): row[2] for row in rows}
        (doubles,) = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM xero_sync_logs WHERE status IN ('success', 'partial') "
            "GROUP BY tenant_id, sync_type, week_ending HAVING count(*) > 1) AS doubled"
        ).fetchone() or (0,)
    for number in range(organisations):
        for week in weeks:
            key, sums = (get_tenant(number), week), books.sum_week(week)
            expected = (sums[SALES], sums[MATERIALS], sums[RENT] + sums[WAGES])
            cents = tuple(amount.quantize(Decimal("0.01")) for amount in expected)
            if profits.get(key) != cents:
                found.append(f"profit and loss {key}: {profits.get(key)}, not {cents}")
            if balances.get(key) != books.get_balance(week):
                found.append(f"balance {key}: {balances.get(key)}, not {books.get_balance(week)}")
            if revenues.get(key) != sums[SALES]:
                found.append(f"revenue {key}: {revenues.get(key)}, not {sums[SALES]}")
    print(f"landed a second time, after a retry: {doubles}")
    return found


def count_landed(database: str) -> int:
    with psycopg.connect(dbname=database, **POSTGRES) as connection:
        query = (
            "SELECT count(DISTINCT (tenant_id, sync_type, week_ending)) FROM xero_sync_logs WHERE status = 'success'"
        )
        return int((connection.execute(query).fetchone() or (0,))[0])


def prove(organisations: int, number_of_weeks: int, *, lose_a_host: bool, seconds: float) -> dict[str, Any]:
    """Sync on two hosts and return what was counted.

    Raises:
        RuntimeError: the weeks did not land in time, a figure differs, or a limit was passed.
    """
    last = date.today() - timedelta(days=(date.today().weekday() + 2) % 7 or 7)  # noqa: DTZ011 - a Saturday that is over
    weeks = [last - timedelta(days=7 * back) for back in reversed(range(number_of_weeks))]
    prefix = f"xp{secrets.token_hex(2)}"
    figures, dagster = f"{prefix}_figures", f"{prefix}_dagster"
    with (
        tempfile.TemporaryDirectory(prefix="two-hosts-") as folder,
        create_databases(figures, dagster),
        serve_xero(
            organisations=organisations, per_minute=PER_MINUTE, in_progress=5, token_seconds=TOKEN_SECONDS
        ) as server,
    ):
        settings = {
            "DATABASE_URL": f"postgresql+psycopg://postgres@127.0.0.1/{figures}",
            "DAGSTER_PG_HOST": "127.0.0.1",
            "DAGSTER_PG_PORT": "5432",
            "DAGSTER_PG_USERNAME": "postgres",
            "DAGSTER_PG_PASSWORD": "none",
            "DAGSTER_PG_DB": dagster,
            "PIPELINE_START_DATE": str(weeks[0] - timedelta(days=6)),
            "XERO_CALLS_PER_MINUTE": "55",
            "MISSING_WEEKS_SECONDS": "15",
            "ORGANISATIONS_PER_RUN": "5",
            "HOME": folder,
        }
        (Path(folder) / "outside").mkdir()
        deployment = MeasuredDeployment(Path(folder) / "outside", server, settings)
        deployment.connect(organisations, expires_in=TOKEN_SECONDS)
        port = int(server.url.rsplit(":", 1)[1])
        with create_hosts(Path(folder), deployment.environment, [5432, port], prefix) as hosts:
            try:
                return _sync(hosts, server, figures, weeks, organisations, lose_a_host=lose_a_host, seconds=seconds)
            except RuntimeError:
                for log in sorted(Path(folder).glob("host-*/*.log")):
                    print(f"--- {log.relative_to(folder)}\n{log.read_text()[-1500:]}", file=sys.stderr)
                raise


def _sync(
    hosts: list[Host],
    server: Server,
    figures: str,
    weeks: list[date],
    organisations: int,
    *,
    lose_a_host: bool,
    seconds: float,
) -> dict[str, Any]:
    start_dagster(hosts)
    tenants, began = [get_tenant(number) for number in range(organisations)], time.monotonic()
    size = max(1, min(5, organisations // 2))
    groups = [tenants[start : start + size] for start in range(0, organisations, size)]
    launches = [
        launch_run(hosts[0], f"host-{1 + number % 2}", group, weeks[0], weeks[-1])
        for number, group in enumerate(groups)
    ]
    for launch in launches:
        if launch.wait() != 0:
            raise RuntimeError("a run could not be launched")
    all_of_them, lost_at = 3 * organisations * len(weeks), 0
    if lose_a_host:
        # What is left is the sensor's to find, as in a deployment whose scheduler is on.
        sensor = [str(TOOLS / "dagster"), "sensor", "start", "missing_weeks", "-w", "workspace.yaml", "-l", "host-1"]
        if hosts[0].start("sensor", sensor).wait() != 0:
            raise RuntimeError("the sensor could not be started")
        wait_until(lambda: count_landed(figures) > all_of_them // 4, "a quarter of the weeks", seconds)
        lost_at = count_landed(figures)
        hosts[1].lose()
    wait_until(lambda: count_landed(figures) == all_of_them, "all weeks", seconds)
    ended = time.monotonic() - began
    counts = server.read_counts()
    problems = find_differences(figures, weeks, organisations, Books())
    if counts["refused"]:
        problems.append(f"Xero refused calls: {counts['refused']}")
    if counts["most_in_progress"] > 5:
        problems.append(f"{counts['most_in_progress']} calls of one organisation were in progress")
    problems += find_refresh_problems(counts)
    if problems:
        raise RuntimeError("\n".join(problems[:10]))
    return {
        "organisations": organisations,
        "weeks": len(weeks),
        "runs": len(groups),
        "lost a host after": lost_at,
        "landed": all_of_them,
        "seconds": round(ended, 1),
        "calls": sum(counts["calls"].values()),
        "refused": counts["refused"],
        "most in progress": counts["most_in_progress"],
        "refreshes": sum(counts["refreshes"].values()),
    }


def find_refresh_problems(counts: dict[str, Any]) -> list[str]:
    """Each token is refreshed once, when it is about to expire, and none is used after it has expired."""
    problems = []
    if (most := max(counts["refreshes"].values(), default=0)) > 1:
        problems.append(f"one refresh token was used {most} times")
    if (left := max(counts["seconds_left"], default=0)) > REFRESHED_BEFORE + 1:
        problems.append(f"a token was refreshed {left:.0f} seconds before it expired")
    if counts["expired"]:
        problems.append(f"{counts['expired']} calls had an expired token")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--organisations", type=int, default=20)
    parser.add_argument("--weeks", type=int, default=26)
    parser.add_argument("--seconds", type=float, default=1800, help="within which everything has to be right")
    parser.add_argument("--lose-a-host", action="store_true")
    asked = parser.parse_args()
    result = prove(asked.organisations, asked.weeks, lose_a_host=asked.lose_a_host, seconds=asked.seconds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""A pgBouncer in front of the tests' PostgreSQL server, on a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from xero_pipeline_tests.conftest import skip_or_fail


@contextmanager
def run_pgbouncer(folder: Path, server_url: str, *, pool_mode: str, **options: object) -> Iterator[str]:
    """Run one and give the address that leads through it to the database of `server_url`."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        skip_or_fail("no pgBouncer is installed (apt-get install pgbouncer)")
    server = make_url(server_url)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    config = folder / "pgbouncer.ini"
    database = f"host={server.host} port={server.port or 5432} dbname={server.database} user={server.username}"
    password = f" password={server.password}" if server.password else ""
    lines = {"listen_addr": "127.0.0.1", "listen_port": port, "auth_type": "any", "pool_mode": pool_mode}
    lines |= {"unix_socket_dir": "", "default_pool_size": 5} | options
    config.write_text(
        f"[databases]\n{server.database} = {database}{password}\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in lines.items())
    )
    words = [program, str(config)]
    if os.getuid() == 0:
        # pgBouncer refuses to run as root, and the test's folder is root's.
        words = [program, "-u", "nobody", str(_hand_over(config))]
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_port(port, running)
        yield server.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
    finally:
        running.terminate()
        running.wait(20)


def _hand_over(config: Path) -> Path:
    """Let the user `nobody` read the file, through every folder above it."""
    nobody = pwd.getpwnam("nobody")
    for path in (config, config.parent):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    for parent in list(config.parent.parents)[:-1]:
        if parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | 0o011)
    return config


def _wait_for_port(port: int, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except ConnectionRefusedError:
            assert running.poll() is None, "pgBouncer has ended by itself"
            assert time.monotonic() < deadline, "pgBouncer does not listen"
            time.sleep(0.05)

"""How long a signed-in person waits for the page while others are rude to it.

`python -m benchmarks.rude_clients [SECONDS]` starts the page as `xero-pipeline admin` does, with a Dagster that never
answers. Another process holds 1,100 connections whose requests never end, and opens each anew when it is closed; a
third asks `/healthz` 150 times a second, a new connection each time. The person opens the page, with a connection of
its own each time, and asks for the status. It prints how many health checks were sent and answered, and the person's
waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.deployments import COMMAND, find_free_port

SLOW_CONNECTIONS, CHECKS_PER_SECOND, PAUSE = 1100, 150, 0.2
TOKEN = secrets.token_hex(24)


async def hold_slow_connections(port: int, seconds: float) -> None:
    """Keep connections open that send a byte of their head now and then."""
    ends_at, opened = time.monotonic() + seconds, 0

    async def hold() -> None:
        nonlocal opened
        while time.monotonic() < ends_at:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                opened += 1
                writer.write(b"GET / HTTP/1.1\r\nHost: loc")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), max(0.1, ends_at - time.monotonic()))
                writer.close()
            # Somebody with more than a laptop would come back at once; here the clients share the page's two cores.
            await asyncio.sleep(1)

    await asyncio.gather(*(hold() for _ in range(SLOW_CONNECTIONS)))
    print(f"slow connections: {SLOW_CONNECTIONS} at a time, opened {opened} times")


async def ask_for_health(port: int, seconds: float) -> None:
    """Ask at a steady rate, however slowly the answers come."""
    answers: list[tuple[int, float]] = []
    refused = 0

    async def ask() -> None:
        nonlocal refused
        began = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            head = await reader.read()
            writer.close()
            answers.append((int(head.split(b" ", 2)[1]), time.monotonic() - began))
        except (OSError, IndexError, ValueError):
            refused += 1

    began, tasks = time.monotonic(), []
    for number in range(int(seconds * CHECKS_PER_SECOND)):
        await asyncio.sleep(max(0.0, began + number / CHECKS_PER_SECOND - time.monotonic()))
        tasks.append(asyncio.create_task(ask()))
    sent_in = time.monotonic() - began
    await asyncio.gather(*tasks)
    waits = sorted(wait for _, wait in answers)
    statuses = {status: sum(one == status for one, _ in answers) for status in {status for status, _ in answers}}
    print(
        f"/healthz: {len(tasks) / sent_in:.0f} a second sent, answered {statuses}, closed without answer {refused}; "
        f"median {statistics.median(waits):.2f} s, longest {waits[-1]:.2f} s"
    )


def visit(url: str, seconds: float) -> None:
    """Open the page again and again as a person does, and print the waits."""
    waits: dict[str, list[float]] = {"/": [], "/api/v1/xero/standing": [], "/static/app.js": []}
    with httpx.Client(base_url=url, timeout=30) as client:
        response = client.post("/login", data={"token": TOKEN})
        if response.status_code not in (302, 303):
            sys.exit(f"the sign-in answered {response.status_code}: {response.text}")
        cookies = client.cookies
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        with httpx.Client(base_url=url, timeout=30, cookies=cookies) as person:
            for path, list_of_waits in waits.items():
                began = time.monotonic()
                person.get(path).raise_for_status()
                list_of_waits.append(time.monotonic() - began)
        time.sleep(PAUSE)
    for path, list_of_waits in waits.items():
        ordered = sorted(list_of_waits)
        print(
            f"a person, {path}: {len(ordered)} times; median {statistics.median(ordered):.3f} s, "
            f"99 of 100 within {ordered[int(len(ordered) * 0.99) - 1]:.3f} s, longest {ordered[-1]:.3f} s"
        )


def main() -> None:
    role, seconds = sys.argv[1] if sys.argv[1:] else "all", 60.0
    if role in ("slow", "health"):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        task = hold_slow_connections if role == "slow" else ask_for_health
        asyncio.run(task(int(sys.argv[2]), float(sys.argv[3])))
        return
    if role != "all":
        seconds = float(role)
    port, hanging = find_free_port(), socket.create_server(("127.0.0.1", 0), backlog=512)
    with tempfile.TemporaryDirectory() as folder, hanging:
        url = f"http://localhost:{port}"
        environment = {
            "PATH": os.environ["PATH"],
            "DAGSTER_HOME": folder,
            "XERO_MOCK_MODE": "true",
            "XERO_ENCRYPTION_KEY": secrets.token_hex(32),
            "ADMIN_TOKEN": TOKEN,
            "SERVER_URL": url,
            # With a path it is another's, and the page does not serve Dagster's UI itself.
            "DAGSTER_URL": f"http://127.0.0.1:{hanging.getsockname()[1]}/hangs",
        }
        subprocess.run([*COMMAND, "migrate"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        log = (Path(folder) / "page.log").open("w")
        page = subprocess.Popen(
            [*COMMAND, "admin", "--port", str(port)], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            for _ in range(200):
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(f"{url}/login")
                    break
                time.sleep(0.1)
            rude = [
                subprocess.Popen([sys.executable, "-m", "benchmarks.rude_clients", name, str(port), str(seconds)])
                for name in ("slow", "health")
            ]
            time.sleep(2)
            visit(url, seconds - 4)
            for process in rude:
                process.wait()
        finally:
            page.terminate()
            page.wait()


if __name__ == "__main__":
    main()

"""`admin` and `rotate-key` as a person types them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from xero_pipeline.clock import SystemClock
from xero_pipeline.grants import Connection
from xero_pipeline.warehouse.errors import NotDecryptable
from xero_pipeline_tests.admin.deployed import make_tokens
from xero_pipeline_tests.admin.real_dagster import ROOT, find_free_port
from xero_pipeline_tests.cli.conftest import NEW, OLD, Folder
from xero_pipeline_tests.dev import is_healthy, list_descendants

# ---- rotate-key -------------------------------------------------------------------------------------------


def connect(folder: Folder) -> None:
    with folder.warehouse(OLD) as opened:
        now = SystemClock().now()
        connections = [Connection("c-1", "t-1", "Alpha"), Connection("c-2", "t-2", "Beta")]
        opened.tokens.save_consent(make_tokens(SystemClock(), "mark"), connections, now=now)


def test_rotate_key_puts_every_token_under_the_current_key(folder: Folder) -> None:
    connect(folder)
    rotated = folder.run("rotate-key", XERO_ENCRYPTION_KEY=NEW, XERO_ENCRYPTION_KEYS_RETIRED=OLD)
    assert (rotated.exit_code, rotated.stdout) == (
        0,
        "the tokens of 2 organisations are now encrypted under the current key\n",
    )
    with folder.warehouse(NEW) as opened:
        assert opened.tokens.load_tokens("t-1").refresh_token == "refresh-mark"
        assert opened.tokens.load_tokens("t-2").access_token == "access-mark"
    with folder.warehouse(OLD) as opened, pytest.raises(NotDecryptable):
        opened.tokens.load_tokens("t-1")
    again = folder.run("rotate-key", XERO_ENCRYPTION_KEY=NEW)
    assert (again.exit_code, again.stdout) == (0, "every token was already encrypted under the current key\n")


def test_rotate_key_without_the_old_key_says_which_setting_and_changes_nothing(folder: Folder) -> None:
    connect(folder)
    rotated = folder.run("rotate-key", XERO_ENCRYPTION_KEY=NEW)
    assert rotated.exit_code == 1
    assert "XERO_ENCRYPTION_KEYS_RETIRED" in rotated.stderr
    assert "Alpha" in rotated.stderr
    assert OLD not in rotated.output
    with folder.warehouse(OLD) as opened:
        assert opened.tokens.load_tokens("t-1").refresh_token == "refresh-mark"


def test_the_status_says_of_whom_the_tokens_cannot_be_read(folder: Folder) -> None:
    connect(folder)
    assert "tokens:" not in folder.run("status", XERO_ENCRYPTION_KEY=OLD).stdout
    said = folder.run("status", XERO_ENCRYPTION_KEY=NEW)
    assert said.exit_code == 0
    assert [name for name in ("Alpha", "Beta") if f"tokens: The tokens of {name} cannot be read." in said.stdout] == [
        "Alpha",
        "Beta",
    ]
    assert "XERO_ENCRYPTION_KEYS_RETIRED" in said.stdout
    as_json = json.loads(folder.run("status", "--json", XERO_ENCRYPTION_KEY=NEW).stdout)
    assert [one["tokenError"].split(" cannot")[0] for one in as_json["organisations"]] == [
        "The tokens of Alpha",
        "The tokens of Beta",
    ]


def test_an_organisations_name_cannot_act_on_the_terminal(folder: Folder) -> None:
    """An organisation's owner chooses its name, and may be anybody who connects."""
    name = "Acme\x1b[2J\x9b31m\u202etxt\nerror: all is lost\x7f"
    with folder.warehouse(OLD) as opened:
        tokens = make_tokens(SystemClock(), "mark")
        opened.tokens.save_consent(tokens, [Connection("c-1", "t-1", name)], now=SystemClock().now())
    outputs = [
        folder.run(*command, XERO_ENCRYPTION_KEY=key)
        for key in (OLD, NEW)
        for command in (["status"], ["status", "--json"], ["--verbose", "rotate-key"], ["disconnect"])
    ]
    for output in outputs:
        assert all(line.isprintable() for line in output.output.split("\n")), output.output
        assert not [line for line in output.output.splitlines() if line.startswith("error: all is lost")]
    assert json.loads(outputs[1].stdout)["organisations"][0]["tenantName"] == name


# ---- admin ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5"])  # noqa: S104 - it must refuse them
def test_admin_refuses_to_be_open_to_the_network(folder: Folder, host: str) -> None:
    refused = folder.run("admin", "--host", host)
    assert refused.exit_code == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "ADMIN_TOKEN" in refused.stderr


def test_admin_says_that_its_port_is_taken(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = folder.run("admin", "--port", port)
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert port in refused.stderr


def test_admin_wants_a_migrated_database(folder: Folder, tmp_path: Path) -> None:
    refused = folder.run("admin", DATABASE_URL=f"sqlite:///{tmp_path / 'none.db'}")
    assert (refused.exit_code, "xero-pipeline migrate" in refused.stderr) == (1, True)


def test_admin_ends_the_code_server_that_it_has_started(folder: Folder, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XERO_", "DAGSTER_"))}
    port = find_free_port()
    with (tmp_path / "admin.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from xero_pipeline.cli import main; main()", "admin", "--port", str(port)],
            cwd=tmp_path,
            env={**kept, **folder.environment, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while not is_healthy(f"http://127.0.0.1:{port}/healthz") and time.monotonic() < deadline:
            time.sleep(0.2)
        assert is_healthy(f"http://127.0.0.1:{port}/healthz"), (tmp_path / "admin.log").read_text()[-2000:]
        started = list_descendants(process.pid) - {process.pid}
        assert started
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        while any(Path(f"/proc/{pid}").exists() for pid in started) and time.monotonic() < deadline + 60:
            time.sleep(0.1)
        assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_admin_serves_until_it_is_told_to_end(folder: Folder, tmp_path: Path, number: signal.Signals) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XERO_", "DAGSTER_"))}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", "from xero_pipeline.cli import main; main()", "admin", "--port", "0"],
        cwd=tmp_path,
        env={
            **kept,
            **folder.environment,
            "PYTHONPATH": str(ROOT),
            "ADMIN_TOKEN": "a-token-of-a-test",
            "DAGSTER_URL": "http://127.0.0.1:1/dagster",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        port = re.search(r"listening on 127\.0\.0\.1:(\d+)", said)
        assert port, said
        url = f"http://127.0.0.1:{port[1]}"
        answer = httpx.get(f"{url}/healthz")
        assert answer.json()["database"] == "ok"
        assert "server" not in answer.headers
        assert httpx.get(f"{url}/api/v1/xero/callback?state=the-state&code=the-code").status_code == 302
        assert httpx.get(f"{url}/api/v1/xero/status").status_code == 401
        process.send_signal(number)
        _, rest = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert "Traceback" not in rest
    assert "state_unknown" in rest, "what became of a sign-in is in the log"
    assert "the-code" not in rest
    assert "the-state" not in rest

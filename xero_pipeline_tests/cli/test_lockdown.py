"""`lockdown`, `backup` and `restore` as a person types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from xero_pipeline.connection import ConnectionService
from xero_pipeline.grants import Connection
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.xero.errors import ConsentFailed
from xero_pipeline_tests.admin.deployed import make_tokens
from xero_pipeline_tests.cli.conftest import NEW, OLD, Folder, one_line
from xero_pipeline_tests.conftest import FakeClock


def connect_mock(folder: Folder) -> str:
    """Connect the mock's organisation and begin another consent. Returns that consent's state."""
    with Deployment(load_settings(**folder.environment)) as opened:
        service = ConnectionService(opened)
        service.connect_mock()
        state = re.search(r"state=([^&]+)", service.begin_consent(browser=None))
        assert state
        return state[1]


def test_a_lockdown_revokes_deletes_and_says_what_is_left(folder: Folder) -> None:
    state = connect_mock(folder)
    with folder.warehouse(OLD) as opened:
        (organisation,) = opened.tokens.list_organisations()
        access_token = opened.tokens.load_tokens(organisation.tenant_id).access_token
    done = folder.run("lockdown")
    assert done.exit_code == 0, done.output
    assert f"disconnected Mock Organisation ({organisation.tenant_id})\n" in done.stdout
    assert "ended 1 pending consent and 0 sessions\n" in done.stdout
    steps = re.findall(r"^\d\. (.+)$", done.stdout, re.MULTILINE)
    assert len(steps) == 7
    for word in ("Stop", "Connected apps", "XERO_CLIENT_SECRET", "XERO_ENCRYPTION_KEY", "ADMIN_TOKEN", "DATABASE_URL"):
        assert any(word in step for step in steps)
    assert access_token not in done.output
    with folder.warehouse(OLD) as opened:
        assert opened.tokens.list_organisations() == []
    with Deployment(load_settings(**folder.environment)) as opened, pytest.raises(ConsentFailed, match="has ended"):
        ConnectionService(opened).finish_consent({"state": state, "code": "c"}, browser=None)
    again = folder.run("lockdown")
    assert (again.exit_code, "nothing was connected" in again.stdout) == (0, True)


def test_a_lockdown_deletes_what_it_cannot_revoke_and_says_so(folder: Folder, clock: FakeClock) -> None:
    """Here the tokens cannot be decrypted, as if the key had been replaced first."""
    with folder.warehouse(OLD) as opened:
        connections = [Connection("c-1", "t-1", "Alpha"), Connection("c-2", "t-2", "Beta")]
        opened.tokens.save_consent(make_tokens(clock, "mark"), connections, now=clock.now())
    done = folder.run("lockdown", XERO_ENCRYPTION_KEY=NEW)
    assert "did not confirm that every connection has ended" in one_line(done)
    assert "disconnected Alpha (t-1) here: its tokens are deleted. Xero did not confirm it: " in done.stdout
    assert "disconnect this app from Alpha, Beta: Xero did not confirm" in done.stdout
    assert "mark" not in done.output
    with folder.warehouse(OLD) as opened:
        assert opened.tokens.list_organisations() == []


def test_a_lockdown_deletes_tokens_when_xero_does_not_answer(folder: Folder) -> None:
    connect_mock(folder)
    real = {
        "XERO_MOCK_MODE": "false",
        "XERO_CLIENT_ID": "app",
        "XERO_CLIENT_SECRET": "app-secret",
        "XERO_API_URL": "http://127.0.0.1:9",
        "XERO_IDENTITY_URL": "http://127.0.0.1:9",
    }
    done = folder.run("lockdown", **real)
    assert "did not confirm" in one_line(done)
    assert "disconnected Mock Organisation (mock-tenant-001) here: its tokens are deleted. Xero did not" in done.stdout
    with folder.warehouse(OLD) as opened:
        assert opened.tokens.list_organisations() == []


def test_a_lockdown_names_whose_access_tokens_still_count_and_is_in_the_audit_log(folder: Folder) -> None:
    connect_mock(folder)
    folder.run("access", "add", "Ann Lee", "--role", "owner", ADMIN_TOKEN="a" * 48)
    done = folder.run("lockdown")
    assert "Access tokens still count (Ann Lee): `xero-pipeline access remove NAME`" in done.stdout
    newest = json.loads(folder.run("audit", "--json").stdout)[0]
    assert (newest["action"], newest["subject"], newest["outcome"]) == ("lockdown", "Mock Organisation", "success")


def test_a_restore_gives_no_session_back_and_names_who_has_access(folder: Folder, tmp_path: Path) -> None:
    folder.run("access", "add", "Ann Lee", "--role", "owner", ADMIN_TOKEN="a" * 48)
    with folder.warehouse(OLD) as opened:
        opened.sessions.begin("hash", who="Ann Lee", credential="c", origin="127.0.0.1", now=opened.clock.now())
    file = tmp_path / "books.backup"
    assert folder.run("backup", "--to", str(file)).exit_code == 0
    restored = folder.run("restore", "--from", str(file), "--replace")
    assert "with access now: Ann Lee" in restored.stdout
    with folder.warehouse(OLD) as opened:
        assert opened.sessions.end_all() == 0


def test_a_backup_is_restored_and_holds_no_key_and_no_readable_token(folder: Folder, tmp_path: Path) -> None:
    connect_mock(folder)
    file = tmp_path / "books.backup"
    done = folder.run("backup", "--to", str(file))
    assert done.exit_code == 0, done.output
    assert re.fullmatch(rf"wrote {file}: \d\.\d MB, schema \d+, without the key\n", done.stdout)
    content = file.read_bytes()
    with folder.warehouse(OLD) as opened:
        tokens = opened.tokens.load_tokens("mock-tenant-001")
    assert OLD.encode() not in content
    assert bytes.fromhex(OLD) not in content
    assert tokens.access_token.encode() not in content
    assert "add --replace" in one_line(folder.run("restore", "--from", str(file)))
    assert folder.run("disconnect").exit_code == 0
    restored = folder.run("restore", "--from", str(file), "--replace")
    assert (restored.exit_code, restored.stdout.startswith(f"restored {file}: schema ")) == (0, True)
    with folder.warehouse(OLD) as opened:
        assert [one.tenant_name for one in opened.tokens.list_organisations()] == ["Mock Organisation"]
        assert opened.tokens.load_tokens("mock-tenant-001") == tokens
    assert "exists already" in one_line(folder.run("backup", "--to", str(file)))
    fresh = {"DATABASE_URL": f"sqlite:///{tmp_path / 'fresh.db'}"}
    assert folder.run("restore", "--from", str(file), **fresh).exit_code == 0
    assert folder.run("status", **fresh).exit_code == 0

"""`access` and `audit` as a person types them, and what the other commands record."""

from __future__ import annotations

import json
import os
import pwd
from typing import Any

import pytest
from sqlalchemy import select

from xero_pipeline.access import AccessControl
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.access.audit_log import Actor
from xero_pipeline.warehouse.connections.oauth_states import ConsentStarter
from xero_pipeline.warehouse.schema import oauth_states
from xero_pipeline_tests.cli.conftest import NEW, OLD, Folder, one_line

USER = pwd.getpwuid(os.getuid()).pw_name


def read_rows(folder: Folder) -> list[dict[str, Any]]:
    """The audit log, oldest first."""
    result = folder.run("audit", "--json", "--limit", "1000")
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows[::-1]


def test_access_is_given_listed_and_taken(folder: Folder) -> None:
    assert "nobody has a token" in folder.run("access", "list").stdout
    added = folder.run("access", "add", "Ann Lee", "--role", "operator", ADMIN_TOKEN="a" * 48)
    assert added.exit_code == 0, added.output
    token = added.stdout.strip()
    assert token.startswith("xeropipe_")
    assert "Ann Lee is operator" in added.stderr
    with folder.warehouse(OLD) as opened:
        identity = AccessControl(load_settings(**folder.environment), opened).identify_token(token)
        assert identity is not None
        assert (identity.who, identity.role) == ("Ann Lee", "operator")
    folder.run("access", "add", "bob@example.com", "--role", "viewer", "--without-token")
    [ann, bob] = json.loads(folder.run("access", "list", "--json").stdout)
    assert (ann["name"], ann["role"], ann["hasToken"]) == ("Ann Lee", "operator", True)
    assert (bob["name"], bob["role"], bob["hasToken"]) == ("bob@example.com", "viewer", False)
    shown = folder.run("access", "list").stdout
    assert "Ann Lee" in shown
    assert token not in shown
    assert folder.run("access", "remove", "Ann Lee").stdout == "Ann Lee has no access any more\n"
    assert "Nobody of that name" in one_line(folder.run("access", "remove", "Ann Lee"))
    assert "has access already" in one_line(folder.run("access", "add", "BOB@example.com", "--role", "owner"))
    assert [(row["action"], row["subject"], row["outcome"]) for row in read_rows(folder)] == [
        ("add_access", "Ann Lee, operator", "success"),
        ("add_access", "bob@example.com, viewer", "success"),
        ("remove_access", "Ann Lee", "success"),
        ("remove_access", "Ann Lee", "unknown_person"),
        ("add_access", "", "person_not_added"),
    ]


def test_an_open_page_is_pointed_out(folder: Folder) -> None:
    result = folder.run("access", "add", "ann", "--role", "viewer")
    assert "ADMIN_TOKEN is not set" in result.stderr
    assert "ADMIN_TOKEN" not in folder.run("access", "add", "bob", "--role", "viewer", ADMIN_TOKEN="a" * 48).stderr


@pytest.mark.parametrize("arguments", [["add", "ann"], ["add", "ann", "--role", "king"], ["add"], ["remove"]])
def test_wrong_usage_is_status_2(folder: Folder, arguments: list[str]) -> None:
    assert folder.run("access", *arguments).exit_code == 2


def test_what_the_commands_do_is_recorded_with_the_user_of_the_system(folder: Folder) -> None:
    assert folder.run("audit").stdout == "nobody has done anything yet\n"
    environment = {"LOGNAME": "somebody-else", "USER": "somebody-else"}
    assert folder.run("connect", **environment).exit_code == 0
    assert folder.run("rotate-key", XERO_ENCRYPTION_KEY=NEW, XERO_ENCRYPTION_KEYS_RETIRED=OLD).exit_code == 0
    both = {"XERO_ENCRYPTION_KEY": NEW, "XERO_ENCRYPTION_KEYS_RETIRED": OLD}
    assert folder.run("disconnect", "--organisation", "nobody", **both).exit_code == 1
    assert folder.run("disconnect", **both).exit_code == 0
    rows = read_rows(folder)
    assert {(row["who"], row["role"], row["origin"]) for row in rows} == {(USER, "owner", "cli")}
    assert [(row["action"], row["subject"], row["outcome"]) for row in rows] == [
        ("connect", "Mock Organisation", "success"),
        ("rotate_key", "1 organisation", "success"),
        ("disconnect", "nobody", "unknown_organisation"),
        ("disconnect", "Mock Organisation", "success"),
    ]
    table = folder.run("audit", "--limit", "2").stdout
    assert "unknown organisation" in table
    assert "rotate key" not in table


def test_a_consent_that_the_command_line_began_dies_with_a_changed_admin_token(folder: Folder) -> None:
    real = {
        "XERO_MOCK_MODE": "false",
        "XERO_CLIENT_ID": "app",
        "XERO_CLIENT_SECRET": "app-secret",
    }
    assert folder.run("connect", **real, ADMIN_TOKEN="a" * 48).exit_code == 0
    with folder.warehouse(OLD) as opened:
        with opened.engine.connect() as connection:
            row = connection.execute(select(oauth_states)).one()
        starter = ConsentStarter(Actor(row.who, row.role, row.origin), row.credential, row.session_hash)
        assert (row.who, row.origin, row.session_hash) == (USER, "cli", None)
        for token, may in (("a" * 48, True), ("b" * 48, False)):
            settings = load_settings(**folder.environment | real | {"ADMIN_TOKEN": token})
            assert AccessControl(settings, opened).may_finish(starter) is may

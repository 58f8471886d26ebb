"""Secrets from files: `NAME_FILE` for each secret setting."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from xero_pipeline.settings import SettingsError, child_environment, export_dotenv_variables, load_settings
from xero_pipeline.settings.loading import list_secret_settings

KEY = "9f3b0c57d2e8461ab07c94e5f1d86a2374be0d95c8a1f6e3527b8d40196ce7fa"
TOKEN = "c41f86d03b9752ae14d0f3987b2c65ea"


@pytest.fixture(autouse=True)
def _clear_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("XERO_", "DAGSTER_")) or name in {"DATABASE_URL", "ADMIN_TOKEN", "ALLOW_INSECURE"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XERO_MOCK_MODE", "true")
    monkeypatch.setenv("XERO_ENCRYPTION_KEY", KEY)


def write_secret(file: Path, content: str | bytes, mode: int = 0o400) -> str:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    file.chmod(mode)
    return str(file)


VALUES = {
    "XERO_CLIENT_SECRET": "the-client-secret",
    "XERO_ENCRYPTION_KEY": KEY,
    "XERO_ENCRYPTION_KEYS_RETIRED": f"{'1f' * 32}\n{'2e' * 32}",
    "ADMIN_TOKEN": TOKEN,
    "DATABASE_URL": "postgresql+psycopg://xero:the-password@localhost/xero",
    "ALERT_URLS": "mailto://u:p@example.com?to=a@example.com,b@example.com\nslack://A/B/C",
}


def test_every_secret_setting_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = list_secret_settings()
    assert set(VALUES) <= set(names), "each of the settings that the documentation names is a secret"
    for name, value in VALUES.items():
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(f"{name}_FILE", write_secret(tmp_path / name, f"{value}\n"))
    loaded = load_settings()
    assert loaded.client_secret is not None
    assert loaded.client_secret.get_secret_value() == "the-client-secret"
    assert [key.hex() for key in loaded.keys] == [KEY, "1f" * 32, "2e" * 32]
    assert loaded.admin_token is not None
    assert loaded.admin_token.get_secret_value() == TOKEN
    assert loaded.database_url.password == "the-password"
    assert [url.get_secret_value() for url in loaded.alert_urls] == VALUES["ALERT_URLS"].split("\n")


@pytest.mark.parametrize("name", list_secret_settings())
def test_a_secret_that_is_set_twice_is_refused(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(name, VALUES.get(name, "json://example.com"))
    monkeypatch.setenv(f"{name}_FILE", write_secret(tmp_path / "secret", VALUES.get(name, "json://example.com")))
    with pytest.raises(SettingsError, match=f"^{name} and {name}_FILE are both set: keep one of them$"):
        load_settings()


def test_a_file_named_in_dotenv_starts_at_its_folder_and_is_not_exported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
    write_secret(home / "token", TOKEN)
    (home / ".env").write_text("ADMIN_TOKEN_FILE=token\n")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    token = load_settings().admin_token
    assert token is not None
    assert token.get_secret_value() == TOKEN
    monkeypatch.setattr(os, "environ", environment := dict(os.environ))
    export_dotenv_variables()
    assert "ADMIN_TOKEN_FILE" not in environment


def test_a_process_that_is_started_in_another_folder_finds_the_same_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    for folder in (here, home):
        folder.mkdir()
    write_secret(here / "token", TOKEN)
    (here / ".env").write_text(f"ADMIN_TOKEN_FILE=token\nDAGSTER_HOME={home}\n")
    monkeypatch.chdir(here)
    loaded = load_settings()
    monkeypatch.setattr(os, "environ", child_environment(loaded))
    monkeypatch.chdir(home)
    assert load_settings() == loaded


@pytest.mark.parametrize("mode", [0o404, 0o444, 0o644, 0o602])
def test_a_file_that_every_user_may_open_is_refused_and_can_be_overruled(
    mode: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN_FILE", write_secret(tmp_path / "token", TOKEN, mode))
    with pytest.raises(
        SettingsError, match=r"ADMIN_TOKEN_FILE names .*every user.*chmod 0400.*=weak_secrets"
    ) as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    monkeypatch.setenv("ALLOW_INSECURE", "weak_secrets")
    assert load_settings().admin_token is not None


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_file_for_its_owner_and_group_is_taken(mode: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADMIN_TOKEN_FILE", write_secret(tmp_path / "token", TOKEN, mode))
    assert load_settings().admin_token is not None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "which cannot be read: No such file or directory"),
        ("", "which is empty"),
        (" \n", "which is empty"),
        ("one-half\nthe-other-half", "more than one line"),
        (b"\xff\xfe-half", "which is no text in UTF-8"),
        ("half" * 20_000, "too large for a secret"),
    ],
)
def test_a_file_that_holds_no_secret_is_one_line_without_its_content(
    content: str | bytes | None, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    monkeypatch.setenv("ADMIN_TOKEN_FILE", str(file) if content is None else write_secret(file, content))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    line = str(caught.value)
    assert line.startswith("ADMIN_TOKEN_FILE names ")
    assert problem in line
    assert "\n" not in line
    assert "half" not in line


def test_a_folder_is_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADMIN_TOKEN_FILE", str(tmp_path))
    with pytest.raises(SettingsError, match=r"^ADMIN_TOKEN_FILE names .*cannot be read: Is a directory"):
        load_settings()


def test_a_weak_secret_in_a_file_is_as_weak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADMIN_TOKEN_FILE", write_secret(tmp_path / "token", "letmein-2026!"))
    with pytest.raises(SettingsError, match=r"^ADMIN_TOKEN can be guessed"):
        load_settings()


def test_the_files_of_secrets_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADMIN_TOKEN_FILE", write_secret(tmp_path / "token", TOKEN))
    load_settings()
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o400

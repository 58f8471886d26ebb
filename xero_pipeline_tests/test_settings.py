"""Settings are read and checked once, and their secrets are never shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from xero_pipeline.settings import Settings, SettingsError, child_environment, export_dotenv_variables, load_settings

KEY = "0123456789abcdef" * 4
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _clear_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("XERO_", "PIPELINE_", "SYNC_", "DAGSTER_")) or name in {"DATABASE_URL", "ALERT_URLS"}:
            monkeypatch.delenv(name)


def load_mock_settings(**values: Any) -> Settings:
    return load_settings(**{"XERO_MOCK_MODE": "true", "XERO_ENCRYPTION_KEY": KEY} | values)


def test_a_shell_reads_the_example_as_the_pipeline_does(tmp_path: Path) -> None:
    source = f'set -aeu; . "{ROOT / ".env.example"}"; env -0'
    shown = subprocess.run(
        ["sh", "-c", source], capture_output=True, check=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    assert shown.stderr == ""
    read_by_shell = dict(line.split("=", 1) for line in shown.stdout.split("\0") if line)
    expected = {name: value for name, value in dotenv_values(ROOT / ".env.example").items() if name != "PATH"}
    assert {name: read_by_shell[name] for name in expected} == expected


def test_the_key_and_mock_mode_are_enough() -> None:
    assert load_mock_settings().keys == [bytes.fromhex(KEY)]


@pytest.mark.parametrize(
    ("dagster", "server", "page"),
    [
        ("http://localhost:3000", "http://localhost:3001", "http://localhost:3001/dagster"),
        ("http://[::1]:3000/", "http://127.0.0.1:3001", "http://127.0.0.1:3001/dagster"),
        ("http://10.20.30.40:3000", "http://localhost:3001", "http://10.20.30.40:3000"),
        ("http://localhost:3000/dagster", "http://localhost:3001", "http://localhost:3000/dagster"),
        ("http://localhost:3000/dagster", "https://xero.example.com", "https://xero.example.com/dagster"),
        ("http://127.0.0.1:3000/dagster/", "https://example.com:8443/admin", "https://example.com:8443/dagster"),
        ("http://localhost:3000", "https://xero.example.com", "https://xero.example.com/dagster"),
        ("https://dagster.example.com/a", "https://xero.example.com", "https://dagster.example.com/a"),
    ],
)
def test_the_address_of_dagster_for_people_is_the_pages_own_or_the_one_behind_the_proxy(
    dagster: str, server: str, page: str
) -> None:
    assert load_mock_settings(DAGSTER_URL=dagster, SERVER_URL=server).dagster_page == page


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("XERO_ENCRYPTION_KEY", "abc", "XERO_ENCRYPTION_KEY is malformed: it must be 32 bytes as 64 hex"),
        ("XERO_ENCRYPTION_KEY", "g" * 64, "XERO_ENCRYPTION_KEY is malformed"),
        ("XERO_ENCRYPTION_KEYS_RETIRED", f"{KEY},beef", "XERO_ENCRYPTION_KEYS_RETIRED is malformed: key number 2"),
        ("XERO_MOCK_MODE", "perhaps", "XERO_MOCK_MODE must be true or false"),
        ("KEEP_CONTACT_NAMES", "some", "KEEP_CONTACT_NAMES must be true or false"),
        ("TRUSTED_PROXIES", "proxy.example.com", "TRUSTED_PROXIES must be IP addresses or networks"),
        ("TRUSTED_PROXIES", "10.0.0.1,0.0.0.0/0", "TRUSTED_PROXIES must not be every address"),
        ("TRUSTED_PROXY_USER_HEADER", "X-User", "TRUSTED_PROXY_USER_HEADER needs TRUSTED_PROXIES"),
        ("TRUSTED_PROXY_USER_HEADER", "X User", "TRUSTED_PROXY_USER_HEADER must be the name of a header"),
        ("TRUSTED_PROXY_USER_HEADER", "Authorization", "TRUSTED_PROXY_USER_HEADER must be the name of a header"),
        ("XERO_GRANT", "password", "XERO_GRANT must be authorization_code or client_credentials"),
        ("XERO_BASIS", "mixed", "XERO_BASIS must be accrual or cash"),
        ("XERO_API_URL", "http://api.xero.com", "XERO_API_URL must be https"),
        ("XERO_IDENTITY_URL", "ftp://x", "XERO_IDENTITY_URL must be an http or https address"),
        ("XERO_CALLS_PER_MINUTE", "0", "XERO_CALLS_PER_MINUTE must be a positive whole number"),
        ("XERO_CALLS_PER_DAY", "many", "XERO_CALLS_PER_DAY must be a positive whole number"),
        ("DATABASE_URL", "mysql://x/y", "DATABASE_URL must begin with sqlite:/// or postgresql\\+psycopg://"),
        ("DATABASE_URL", "postgresql://x/y", "DATABASE_URL must begin with"),
        ("DATABASE_URL", "sqlite://", "DATABASE_URL must name a file"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL must be an SQLAlchemy address"),
        ("DATABASE_URL", "sqlite://data/xero.db", "DATABASE_URL must begin with sqlite:/// \\(three slashes\\)"),
        ("DATABASE_URL", "sqlite:///data/xero.db?mode=ro", "DATABASE_URL must end with the file's name"),
        ("PIPELINE_TIMEZONE", "Mars/Olympus", "PIPELINE_TIMEZONE must be an IANA time zone"),
        ("PIPELINE_START_DATE", "01/02/2023", "PIPELINE_START_DATE must be a date as YYYY-MM-DD"),
        ("PIPELINE_START_DATE", "0", "PIPELINE_START_DATE must be a date as YYYY-MM-DD"),
        ("PIPELINE_START_DATE", "1672531200", "PIPELINE_START_DATE must be a date as YYYY-MM-DD"),
        ("PIPELINE_START_DATE", "20230101", "PIPELINE_START_DATE must be a date as YYYY-MM-DD"),
        ("PIPELINE_START_DATE", "2023-02-30", "PIPELINE_START_DATE must be a date as YYYY-MM-DD"),
        ("PIPELINE_START_DATE", "0001-01-01", "from 2000-01-01 to 2100-12-31"),
        ("PIPELINE_START_DATE", "9999-12-31", "from 2000-01-01 to 2100-12-31"),
        ("DAGSTER_HOME", "~nobody-of-that-name/xero", "DAGSTER_HOME must be a folder"),
        ("SYNC_CRON", "daily", "SYNC_CRON must be a cron line"),
        ("SYNC_CRON", "61 25 * * *", "SYNC_CRON must be a cron line"),
        ("SYNC_CRON", "0 6 * *", "SYNC_CRON must be a cron line"),
        ("SYNC_CRON", "0 6 * * * *", "SYNC_CRON must be a cron line"),
        ("SYNC_CRON", "0 6 5-3 * *", "SYNC_CRON must be a cron line"),
        ("SYNC_CRON", "0 6 31 2 *", "SYNC_CRON names a day that none of its months has"),
        ("SYNC_CRON", "0 6 31 4,6 */2", "SYNC_CRON names a day that none of its months has"),
        ("DIGEST_URLS", "notaurl", "DIGEST_URLS must be Apprise addresses.*number 1 does not"),
        ("DIGEST_CRON", "every monday", "DIGEST_CRON must be a cron line of five fields in numbers"),
        ("ALERT_URLS", "notaurl", "ALERT_URLS must be Apprise addresses.*number 1 does not"),
        ("ALERT_URLS", "me@example.com,json://example.com", "ALERT_URLS must be Apprise addresses.*number 1 does not"),
        ("SYNC_LOOKBACK_WEEKS", "-1", "SYNC_LOOKBACK_WEEKS must be a whole number from 0"),
        ("SERVER_URL", "localhost:3001", "SERVER_URL must be an http or https address"),
        ("SERVER_URL", "http://localhost:abc", "SERVER_URL must be .* a port from 1 to 65535"),
        ("SERVER_URL", "http://localhost:0", "SERVER_URL must be .* a port from 1 to 65535"),
        ("SERVER_URL", "http://[::1", "SERVER_URL must be an http or https address"),
        ("DAGSTER_URL", "http://localhost:99999", "DAGSTER_URL must be .* a port from 1 to 65535"),
        ("XERO_API_URL", "https://api.xero.com:xx", "XERO_API_URL must be .* a port from 1 to 65535"),
    ],
)
def test_the_error_for_a_malformed_setting_is_one_line_with_its_name_and_what_to_do(
    name: str, value: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load_mock_settings(**{name: value})
    assert "\n" not in str(caught.value)
    if "KEY" in name and len(value) > 8:
        assert value not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://xero:Sup3r@S3cret@127.0.0.1/xero",
        "postgresql+psycopg://xero:Sup3r@S3cret:w0rd@127.0.0.1/xero",
        "postgresql+psycopg://xero:Sup3r@S3c/ret@127.0.0.1/xero",
        "postgresql+psycopg://xero:S3cret/xero",
        "postgresql+psycopg://xero:3331333/xero",
    ],
)
def test_a_password_that_is_not_encoded_is_refused_and_no_part_of_it_is_shown(url: str) -> None:
    with pytest.raises(SettingsError, match=r"DATABASE_URL must .* write @ as %40") as caught:
        load_mock_settings(DATABASE_URL=url)
    # The error also names the folder, whose name may have any number in it.
    shown = str(caught.value).replace(str(Path.cwd()), "")
    assert not re.search(r"Sup3r|S3c|ret|w0rd|333|127", shown)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "mailto://alice:Sup3r@S3cret@smtp.example.com",
        "json://alice:Sup3r@S3cret@127.0.0.1/path?to=a@example.com",
        "slack://A/B/C,json://alice:@S3cret@127.0.0.1:8080",
    ],
)
def test_a_password_of_an_alert_address_that_is_not_encoded_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match=r"ALERT_URLS must .* write @ as %40") as caught:
        load_mock_settings(ALERT_URLS=url)
    assert not re.search(r"Sup3r|S3c|ret|127", str(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        "mailto://alice:p%40ss@example.com/bob@example.com?from=carol@example.com",
        "slack://bot@A/B/C/#general/@somebody",
        "tgram://123456789:abcdefg/@channel",
    ],
)
def test_an_alert_address_may_have_an_at_sign_before_its_host_and_behind_it(url: str) -> None:
    assert [given.get_secret_value() for given in load_mock_settings(ALERT_URLS=url).alert_urls] == [url]


def test_an_encoded_password_is_decoded() -> None:
    url = load_mock_settings(DATABASE_URL="postgresql+psycopg://xero:p%40s%3As%2Fword@[::1]:5432/xero").database_url
    assert (url.password, url.host, url.port, url.database) == ("p@s:s/word", "::1", 5432, "xero")


@pytest.mark.parametrize("day", ["2000-01-01", "2024-02-29", "2100-12-31"])
def test_a_start_date_from_2000_to_2100_is_accepted(day: str) -> None:
    assert load_mock_settings(PIPELINE_START_DATE=day).start_date.isoformat() == day


@pytest.mark.parametrize(
    "line", ["0 6 29 2 *", "0 6 31 2,3 *", "0 6 31 2 1", "*/15 0-6/2 1,15 * 1-5", "0 6 30/1 2-12/2 *"]
)
def test_a_cron_line_that_has_a_tick_is_accepted(line: str) -> None:
    assert load_mock_settings(SYNC_CRON=line).sync_cron == line


def test_the_error_for_a_missing_key_has_the_command_that_makes_one() -> None:
    with pytest.raises(SettingsError, match=r"XERO_ENCRYPTION_KEY is missing.*openssl rand -hex 32"):
        load_settings(XERO_MOCK_MODE="true")


def test_one_error_names_everything_that_is_missing_or_malformed() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(XERO_BASIS="mixed")
    text = str(caught.value)
    for name in ("XERO_CLIENT_ID is", "XERO_CLIENT_SECRET is", "XERO_ENCRYPTION_KEY is", "XERO_BASIS must"):
        assert text.count(name) == 1
    assert "\n" not in text
    with pytest.raises(SettingsError) as caught:
        load_mock_settings(XERO_MOCK_MODE="perhaps")
    assert "CLIENT" not in str(caught.value), "without a valid XERO_MOCK_MODE it is not known whether an app is needed"


def test_the_error_for_an_env_file_that_is_not_text_is_one_line_without_its_content(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"XERO_CLIENT_SECRET=s\xe9cret-of-somebody\n")
    with pytest.raises(SettingsError, match=r"\.env cannot be read: it must be a text in UTF-8") as caught:
        load_settings()
    assert "cret-of" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_outside_mock_mode_the_app_is_required() -> None:
    with pytest.raises(SettingsError, match=r"XERO_CLIENT_ID is missing.*_MOCK_MODE.*XERO_CLIENT_SECRET is missing"):
        load_mock_settings(XERO_MOCK_MODE="false")
    with pytest.raises(SettingsError, match="XERO_CLIENT_SECRET is missing"):
        load_mock_settings(XERO_MOCK_MODE="false", XERO_CLIENT_ID="app", XERO_CLIENT_SECRET="")


def test_plain_http_is_allowed_on_loopback_only() -> None:
    assert load_mock_settings(XERO_API_URL="http://127.0.0.1:9/").api_url == "http://127.0.0.1:9"


def test_the_dotenv_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"XERO_MOCK_MODE=true\nXERO_ENCRYPTION_KEY={KEY}\nXERO_BASIS=cash\nSYNC_CRON=\n")
    monkeypatch.setenv("PIPELINE_TIMEZONE", "Pacific/Auckland")
    loaded = load_settings()
    assert (loaded.basis, loaded.timezone_name, loaded.sync_cron) == ("cash", "Pacific/Auckland", "0 6 * * *")


def test_a_dotenv_value_with_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"XERO_MOCK_MODE=true\nXERO_ENCRYPTION_KEY={KEY}\nADMIN_TOKEN=gh${{t7}}Qr\n")
    with pytest.raises(SettingsError, match=r"ADMIN_TOKEN in .*\.env holds a \$\{…\} that names no variable") as caught:
        load_settings()
    assert "t7" not in str(caught.value)
    # A variable that exists is replaced by its value.
    monkeypatch.setenv("t7", "-")
    token = load_settings().admin_token
    assert token is not None
    assert token.get_secret_value() == "gh-Qr"


def test_the_variables_for_dagster_in_the_dotenv_file_are_exported_and_the_settings_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = f"XERO_MOCK_MODE=true\nXERO_ENCRYPTION_KEY={KEY}\nDAGSTER_PG_HOST=db\nDAGSTER_PG_DB=dagster\nEMPTY=\n"
    (tmp_path / ".env").write_text(content)
    monkeypatch.setenv("DAGSTER_PG_DB", "another")
    monkeypatch.setattr(os, "environ", environment := dict(os.environ))
    export_dotenv_variables()
    assert (environment["DAGSTER_PG_HOST"], environment["DAGSTER_PG_DB"]) == ("db", "another")
    assert not {"XERO_ENCRYPTION_KEY", "XERO_MOCK_MODE", "EMPTY"} & set(environment)


def test_the_dotenv_file_of_the_deployments_folder_is_read_from_any_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder, basis in ((home, "cash"), (elsewhere, "accrual")):
        folder.mkdir()
        (folder / ".env").write_text(f"XERO_MOCK_MODE=true\nXERO_ENCRYPTION_KEY={KEY}\nXERO_BASIS={basis}\n")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    assert load_settings().basis == "cash"
    monkeypatch.delenv("DAGSTER_HOME")
    assert load_settings().basis == "accrual"


def test_a_dotenv_file_that_names_another_folder_also_applies_to_processes_started_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    for folder in (here, home):
        folder.mkdir()
    (here / ".env").write_text(
        f"XERO_MOCK_MODE=true\nXERO_ENCRYPTION_KEY={KEY}\nXERO_BASIS=cash\nDAGSTER_HOME={home}\n"
    )
    monkeypatch.chdir(here)
    monkeypatch.setenv("XERO_BASIS", "accrual")
    loaded = load_settings()
    environment = child_environment(loaded)
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.chdir(home)
    assert load_settings() == loaded
    assert (loaded.basis, loaded.home_folder) == ("accrual", home)


def test_the_error_mentions_a_missing_dotenv_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"(no .env in {tmp_path}: DAGSTER_HOME names the folder")):
        load_settings()
    (tmp_path / ".env").write_text("XERO_MOCK_MODE=true\n")
    with pytest.raises(SettingsError, match="XERO_ENCRYPTION_KEY is missing") as caught:
        load_settings()
    assert "no .env" not in str(caught.value)


def test_relative_paths_start_in_the_deployments_folder_from_any_current_folder(tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    loaded = load_mock_settings(DAGSTER_HOME=str(home))
    assert loaded.database_url.database == str(home / "data" / "xero.db")
    assert loaded.data_folder == home / "data"


def test_the_repr_of_the_settings_shows_no_secret() -> None:
    secrets = {
        "XERO_ENCRYPTION_KEY": KEY,
        "XERO_CLIENT_SECRET": "the-client-secret",
        "ADMIN_TOKEN": "the-admin-token",
        "ALERT_URLS": "mailto://user:the-mail-password@example.com",
        "DATABASE_URL": "postgresql+psycopg://user:the-db-password@localhost/x",
    }
    shown = repr(load_mock_settings(**secrets)) + str(load_mock_settings(**secrets))
    for secret in [KEY, "the-client-secret", "the-admin-token", "the-mail-password", "the-db-password"]:
        assert secret not in shown


def test_an_alert_address_may_contain_commas() -> None:
    urls = "mailto://u:p@example.com?to=a@example.com,b@example.com , slack://A/B/C,json://example.com/x,"
    assert [url.get_secret_value() for url in load_mock_settings(ALERT_URLS=urls).alert_urls] == [
        "mailto://u:p@example.com?to=a@example.com,b@example.com",
        "slack://A/B/C",
        "json://example.com/x",
    ]
    assert load_mock_settings(ALERT_URLS=" ").alert_urls == ()


def test_the_example_file_lists_exactly_the_settings() -> None:
    listed = set(re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    settings = {field.validation_alias.choices[0] for field in Settings.model_fields.values()}  # type: ignore[union-attr]
    assert listed == settings


def test_a_process_without_a_key_stops_when_it_starts_with_one_line(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", "from xero_pipeline.cli import main; main()", "migrate"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "XERO_MOCK_MODE": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.count("\n") == 1
    assert "XERO_ENCRYPTION_KEY is missing" in process.stderr
    assert list(tmp_path.iterdir()) == []

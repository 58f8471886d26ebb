"""Every setting, read from the environment and `.env` and checked once, when a process starts.

The only module that reads the environment. A malformed setting raises `SettingsError`, whose text names it
and says how to mend it, and never repeats a secret's value. A deployment lives in one folder,
`DAGSTER_HOME` (by default the current one): relative paths are taken from there, whichever folder a
process was started in.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from xero_pipeline.cron import require_cron
from xero_pipeline.errors import PipelineError
from xero_pipeline.weeks import EARLIEST, LATEST, Calendar

# Read-only, least, and enough for everything here (Xero's granular scopes, in force since March 2026).
GRANULAR_SCOPES = (
    "offline_access accounting.settings.read accounting.invoices.read "
    "accounting.reports.profitandloss.read accounting.reports.banksummary.read"
)

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class SettingsError(PipelineError):
    """A setting is missing or malformed; the text names it and says how to mend it."""

    code = "settings"


class Grant(StrEnum):
    AUTHORIZATION_CODE = "authorization_code"
    CLIENT_CREDENTIALS = "client_credentials"


class Basis(StrEnum):
    ACCRUAL = "accrual"
    CASH = "cash"


def _setting(name: str, default: Any = ..., **constraints: Any) -> Any:
    return Field(default, validation_alias=AliasChoices(name), **constraints)


class Settings(BaseSettings):
    """The settings of `.env.example`, one field each. Frozen: a process never changes its mind."""

    model_config = SettingsConfigDict(
        env_file_encoding="utf-8", extra="ignore", frozen=True, case_sensitive=True, env_ignore_empty=True
    )

    mock_mode: bool = _setting("XERO_MOCK_MODE", False)
    client_id: str | None = _setting("XERO_CLIENT_ID", None, validate_default=True)
    client_secret: SecretStr | None = _setting("XERO_CLIENT_SECRET", None, validate_default=True)
    encryption_key: SecretStr = _setting("XERO_ENCRYPTION_KEY")
    encryption_keys_retired: Annotated[tuple[SecretStr, ...], NoDecode] = _setting("XERO_ENCRYPTION_KEYS_RETIRED", ())
    grant: Grant = _setting("XERO_GRANT", Grant.AUTHORIZATION_CODE)
    scopes: str = _setting("XERO_SCOPES", GRANULAR_SCOPES)
    server_url: str = _setting("SERVER_URL", "http://localhost:3001")
    api_url: str = _setting("XERO_API_URL", "https://api.xero.com")
    identity_url: str = _setting("XERO_IDENTITY_URL", "https://identity.xero.com")
    login_url: str = _setting("XERO_LOGIN_URL", "https://login.xero.com")
    basis: Basis = _setting("XERO_BASIS", Basis.ACCRUAL)
    calls_per_minute: int = _setting("XERO_CALLS_PER_MINUTE", 55, ge=1)
    calls_per_day: int = _setting("XERO_CALLS_PER_DAY", 4800, ge=1)
    concurrent_calls: int = _setting("XERO_CONCURRENT_CALLS", 5, ge=1)
    app_calls_per_minute: int = _setting("XERO_APP_CALLS_PER_MINUTE", 9500, ge=1)
    revenue_tracking: str = _setting("XERO_REVENUE_TRACKING", "Revenue Type", min_length=1)
    region_tracking: str = _setting("XERO_REGION_TRACKING", "Region", min_length=1)
    database_url_text: SecretStr = _setting("DATABASE_URL", SecretStr("sqlite:///data/xero.db"))
    timezone_name: str = _setting("PIPELINE_TIMEZONE", "Australia/Sydney")
    start_date: date = _setting("PIPELINE_START_DATE", date(2023, 1, 1))
    sync_cron: str = _setting("SYNC_CRON", "0 6 * * *")
    lookback_weeks: int = _setting("SYNC_LOOKBACK_WEEKS", 4, ge=0, le=520)
    missing_weeks_seconds: int = _setting("MISSING_WEEKS_SECONDS", 300, ge=5)
    late_edits_seconds: int = _setting("LATE_EDITS_SECONDS", 900, ge=5)
    alert_urls: Annotated[tuple[SecretStr, ...], NoDecode] = _setting("ALERT_URLS", ())
    admin_token: SecretStr | None = _setting("ADMIN_TOKEN", None)
    dagster_url: str = _setting("DAGSTER_URL", "http://localhost:3000")
    home: Path = _setting("DAGSTER_HOME", Path())

    # How to mend a value that the type alone refuses; the value itself is never repeated.
    MEND: ClassVar[Mapping[str, str]] = {
        "XERO_MOCK_MODE": "must be true or false",
        "XERO_ENCRYPTION_KEY": "is missing: 32 bytes as 64 hex characters; make one with `openssl rand -hex 32`",
        "XERO_GRANT": "must be authorization_code or client_credentials",
        "XERO_BASIS": "must be accrual or cash",
        "SYNC_LOOKBACK_WEEKS": "must be a whole number from 0 to 520",
        "MISSING_WEEKS_SECONDS": "must be a whole number of seconds, 5 or more",
        "LATE_EDITS_SECONDS": "must be a whole number of seconds, 5 or more",
        "XERO_REVENUE_TRACKING": "must be the name of a tracking category",
        "XERO_REGION_TRACKING": "must be the name of a tracking category",
    }

    # Field by field, not when all are read: so whatever else is missing or malformed is named with them.
    @field_validator("client_id", "client_secret")
    @classmethod
    def _real_xero_needs_an_app(cls, value: Any, info: ValidationInfo) -> Any:
        given = value.get_secret_value() if isinstance(value, SecretStr) else value
        # Without `mock_mode` it is malformed itself, and only that is said.
        if not given and not info.data.get("mock_mode", True):
            else_mock = ", or set XERO_MOCK_MODE=true to try without Xero" if info.field_name == "client_id" else ""
            raise ValueError(f"is missing: take it from your app at developer.xero.com{else_mock}")
        return value

    @field_validator("alert_urls", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        # As Apprise itself does: an address may hold commas (two recipients of a mail), so a new one begins
        # where a comma is followed by what an address begins with.
        if isinstance(value, str):
            return tuple(filter(None, (part.strip(" ,") for part in _BEFORE_ADDRESS.split(value))))
        return value

    @field_validator("alert_urls")
    @classmethod
    def _are_addresses(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        # Which services there are is Apprise's matter; that is looked at when an alert is sent, and the status says it.
        for number, url in enumerate(value, start=1):
            if not _ADDRESS.match(url.get_secret_value()):
                raise ValueError(
                    f"must be Apprise addresses, such as mailto://…: number {number} does not begin as one"
                )
        return value

    @field_validator("encryption_keys_retired", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("encryption_key")
    @classmethod
    def _is_key(cls, value: SecretStr) -> SecretStr:
        _require_key(value, "it")
        return value

    @field_validator("encryption_keys_retired")
    @classmethod
    def _are_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for number, key in enumerate(value, start=1):
            _require_key(key, f"key number {number}")
        return value

    @field_validator("server_url", "api_url", "identity_url", "login_url", "dagster_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            # A port that is none, a bracket left open; what Python says of it may repeat a password.
            sound = None
        if not sound or parts.query or parts.fragment:
            raise ValueError(
                "must be an http or https address, such as https://example.com, with a port from 1 to 65535 or none"
            )
        if parts.username or parts.password:
            raise ValueError("must not carry a user name or password")
        return value.rstrip("/")

    @field_validator("api_url", "identity_url", "login_url")
    @classmethod
    def _tokens_travel_encrypted(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("must be https: plain http is allowed only on loopback (localhost, 127.0.0.1)")
        return value

    @field_validator("scopes")
    @classmethod
    def _has_scopes(cls, value: str) -> str:
        if not value.split():
            raise ValueError("must name at least one scope, separated by blanks")
        return " ".join(value.split())

    @field_validator("timezone_name")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("must be an IANA time zone, such as Australia/Sydney") from None
        return value

    @field_validator("start_date", mode="before")
    @classmethod
    def _is_day(cls, value: object) -> date:
        # Pydantic alone takes a number for seconds since 1970, and every year that a calendar has.
        text = str(value)
        with contextlib.suppress(ValueError):
            day = date.fromisoformat(text)
            # A text that is not written as the day writes itself is another of ISO's forms.
            if day.isoformat() == text and EARLIEST <= day <= LATEST:
                return day
        raise ValueError(f"must be a date as YYYY-MM-DD, from {EARLIEST} to {LATEST}")

    @field_validator("home")
    @classmethod
    def _is_folder(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError:
            raise ValueError("must be a folder; there is no home folder of the user whom its ~ names") from None

    @field_validator("sync_cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        require_cron(value)
        return value

    @field_validator("database_url_text")
    @classmethod
    def _is_database(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            # `from None`: what cannot be read may be a part of the password.
            raise ValueError(
                "must be an SQLAlchemy address: sqlite:///data/xero.db or postgresql+psycopg://…; in its password "
                f"{_ENCODE}"
            ) from None
        if url.get_backend_name() == "sqlite":
            _require_file(url)
        elif url.drivername != "postgresql+psycopg":
            raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
        elif text.count("@") > 1 or not 0 < (url.port or 1) <= 65535:
            # The rest of the password would pass for the host, or for the port, and be shown as such.
            raise ValueError(f"must have one @ at most, before the host, and a port to 65535: in a password {_ENCODE}")
        return value

    @cached_property
    def home_folder(self) -> Path:
        """The deployment's folder, absolute."""
        return self.home.resolve()

    @property
    def data_folder(self) -> Path:
        """Where everything that the deployment writes to disk lies."""
        return self.home_folder / "data"

    @cached_property
    def database_url(self) -> URL:
        """The warehouse's address; an SQLite file's path is absolute."""
        url = make_url(self.database_url_text.get_secret_value())
        if url.get_backend_name() == "sqlite" and url.database:
            return url.set(database=str(self.home_folder / url.database))
        return url

    @property
    def keys(self) -> list[bytes]:
        """The encryption key, then the retired ones that still decrypt: 32 bytes each."""
        return [bytes.fromhex(key.get_secret_value()) for key in (self.encryption_key, *self.encryption_keys_retired)]

    @property
    def calendar(self) -> Calendar:
        return Calendar(self.start_date, ZoneInfo(self.timezone_name))

    @property
    def redirect_uri(self) -> str:
        return f"{self.server_url}/api/v1/xero/callback"

    @property
    def dagster_page(self) -> str:
        """Where people find Dagster's page: at `DAGSTER_URL`. Where that is a path of this machine's, and the admin
        page is reached by another name, a proxy brings both under that name (deploy/nginx.conf)."""
        dagster, server = urlsplit(self.dagster_url), urlsplit(self.server_url)
        if dagster.path and dagster.hostname in _LOOPBACK and server.hostname not in _LOOPBACK:
            return f"{server.scheme}://{server.netloc}{dagster.path}"
        return self.dagster_url

    @property
    def data_source(self) -> str:
        """What stands in every row, so that nobody takes mock figures for real ones."""
        return "xero_mock" if self.mock_mode else "xero_api"


_ENCODE = "write @ as %40, : as %3A and / as %2F"

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BEFORE_ADDRESS = re.compile(rf",\s*(?={_ADDRESS.pattern})")


def _require_file(url: URL) -> None:
    if url.host or url.username:
        raise ValueError("must begin with sqlite:/// (three slashes), or four before an absolute path")
    if not url.database or url.database == ":memory:":
        raise ValueError("must name a file: several processes share the database")
    if url.query:
        raise ValueError("must end with the file's name: for SQLite nothing can be set behind a ?")


def _require_key(value: SecretStr, which: str) -> None:
    text = value.get_secret_value()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32 or len(text) != 64:
        raise ValueError(
            f"is malformed: {which} must be 32 bytes as 64 hex characters; make one with `openssl rand -hex 32`"
        )


def _environment_file() -> Path | None:
    """`.env` of `DAGSTER_HOME`, or else of the current folder, which may be another program's."""
    home = os.environ.get("DAGSTER_HOME")
    for folder in (*([Path(home)] if home else []), Path()):
        if (folder / ".env").is_file():
            return folder / ".env"
    return None


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings.

    Args:
        overrides: values by the setting's own name (`XERO_BASIS="cash"`), which win over the environment.

    Raises:
        SettingsError: one line that names every setting that is missing or malformed.
    """
    file = _environment_file()
    try:
        _require_no_gap(file)
        return Settings(_env_file=file, **overrides)
    except ValidationError as error:
        said = "; ".join(_in_words(problem) for problem in error.errors())
        # Whoever starts a command in another folder than the deployment's reads of settings that are there.
        found = "" if file else f" (no .env in {Path.cwd()}: DAGSTER_HOME names the folder that has one)"
        raise SettingsError(f"{said}{found}") from None
    except (OSError, UnicodeError):
        # `from None`: what cannot be read may be a part of a secret.
        raise SettingsError(f"{file} cannot be read: it must be a text in UTF-8 that this user may read") from None


# ${NAME} in a value of `.env` stands for that variable; ${NAME:-otherwise} has a default.
_VARIABLE = re.compile(r"\$\{([^}:]*)\}")


def _require_no_gap(file: Path | None) -> None:
    """Refuse a value with `${…}` in it that stands for nothing, as it may in a password: it would be dropped."""
    held = {} if file is None else dotenv_values(file, interpolate=False)
    for name, value in held.items():
        for variable in _VARIABLE.findall(value or ""):
            if variable not in held and variable not in os.environ:
                raise SettingsError(
                    f"{name} in {file} holds a ${{…}} that names no variable: set {name} in the environment, where it "
                    "is taken as it is, or in an address write $ as %24"
                )


def export_dotenv_path() -> None:
    """Give this process, and those that it starts, what `.env` says besides the settings: Dagster looks there for the
    variables that dagster.yaml names. A variable that is set already stays."""
    file = _environment_file()
    ours = {choice for field in Settings.model_fields.values() for choice in _names(field)}
    for name, value in (dotenv_values(file) if file else {}).items():
        if value and name not in ours:
            os.environ.setdefault(name, value)


def _names(field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []


def _in_words(problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if name in Settings.model_fields:
        # A default that is refused is told by the field's own name.
        name = next(iter(_names(Settings.model_fields[name])), name)
    if problem["type"] == "value_error":
        return f"{name} {problem['ctx']['error']}".strip()
    mend = Settings.MEND.get(name) or f"must be a positive whole number ({problem['msg'].lower()})"
    return f"{name} {mend}"


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment for a process that this one starts: its own, with the deployment's folder in it, and with what
    a `.env` says that lies in another folder, where that process does not look."""
    file = _environment_file()
    elsewhere = file is not None and file.parent.resolve() != settings.home_folder
    lent = {name: value for name, value in dotenv_values(file).items() if value} if elsewhere else {}
    return {**lent, **os.environ, "DAGSTER_HOME": str(settings.home_folder)}

"""Settings about storage: the database, what it keeps of people, and the deployment's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from pydantic import SecretStr, field_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from xero_pipeline.settings.base import is_loopback_host, setting
from xero_pipeline.settings.strength import Insecurity, StrengthSettings, overrule

# libpq's modes in which a false server cannot pass for the right one.
VERIFIED_MODES = {"verify-full", "verify-ca"}
_ENCODE = "write @ as %40, : as %3A and / as %2F"


class StorageSettings(StrengthSettings):
    """The warehouse's address, and the folder of the deployment."""

    database_url_text: SecretStr = setting("DATABASE_URL", SecretStr("sqlite:///data/xero.db"))
    home: Path = setting("DAGSTER_HOME", Path())
    keep_contact_names: bool = setting("KEEP_CONTACT_NAMES", True)

    MEND: ClassVar[Mapping[str, str]] = {"KEEP_CONTACT_NAMES": "must be true or false"}

    @field_validator("home")
    @classmethod
    def _is_folder(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError:
            raise ValueError("must be a folder; there is no home folder of the user whom its ~ names") from None

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
            # A part of the password would be read as the host or the port, and then be shown.
            raise ValueError(f"must have one @ at most, before the host, and a port to 65535: in a password {_ENCODE}")
        return value

    @cached_property
    def home_folder(self) -> Path:
        """The deployment's folder, absolute."""
        return self.home.resolve()

    @property
    def data_folder(self) -> Path:
        """The folder of everything that the deployment writes to disk."""
        return self.home_folder / "data"

    def find_weak_database(self) -> Iterator[tuple[Insecurity, str]]:
        """Describe a connection to another machine on which a false server would be given the password."""
        url = make_url(self.database_url_text.get_secret_value())
        mode = url.query.get("sslmode")
        if mode is not None and mode not in VERIFIED_MODES and leaves_machine(url):
            yield (
                Insecurity.DATABASE_WITHOUT_TLS,
                f"DATABASE_URL must not have sslmode={mode if mode in _MODES else '…'} for another machine: "
                "leave sslmode out (it is then verify-full) and name the file of the server's certificate "
                f"authority with sslrootcert=…, {overrule(Insecurity.DATABASE_WITHOUT_TLS)}",
            )

    @cached_property
    def database_url(self) -> URL:
        """The warehouse's address; an SQLite file's path is absolute.

        A PostgreSQL server on another machine must show a certificate for its name, since libpq by itself takes any
        server, encrypted or not. Where the deployer overruled that, it is at least not given the password in clear
        text (libpq's `require_auth`, since version 16).
        """
        url = make_url(self.database_url_text.get_secret_value())
        if url.get_backend_name() == "sqlite":
            return url.set(database=str(self.home_folder / (url.database or "")))
        if not leaves_machine(url):
            return url
        if "sslmode" not in url.query and Insecurity.DATABASE_WITHOUT_TLS not in self.allow_insecure:
            return url.update_query_dict({"sslmode": "verify-full"})
        if url.query.get("sslmode") in VERIFIED_MODES or "require_auth" in url.query:
            return url
        return url.update_query_dict({"require_auth": "!password"})


_MODES = {"disable", "allow", "prefer", "require"}


def leaves_machine(url: URL) -> bool:
    """Whether the way to this PostgreSQL server may lead to another machine."""
    if url.get_backend_name() == "sqlite":
        return False
    if url.query.get("service") or (not url.host and os.environ.get("PGSERVICE")):
        return True
    named = [url.host] if url.host else []
    for name in ("host", "hostaddr"):
        value = url.query.get(name, ())
        named += [value] if isinstance(value, str) else value
    if not named:
        named = [os.environ.get("PGHOST", ""), os.environ.get("PGHOSTADDR", "")]
    hosts = [host for names in named for host in names.split(",") if host]
    # A path is a socket file; `[::1]:5432` and `db:5432` are SQLAlchemy's way to name several servers.
    return not all(host[0] in "/@" or is_loopback_host(_strip_port(host)) for host in hosts)


def _strip_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() and (name.endswith("]") or ":" not in name) else host


def _require_file(url: URL) -> None:
    if url.host or url.username:
        raise ValueError("must begin with sqlite:/// (three slashes), or four before an absolute path")
    if not url.database or url.database == ":memory:":
        raise ValueError("must name a file: several processes share the database")
    if url.query:
        raise ValueError("must end with the file's name: for SQLite nothing can be set behind a ?")

"""Settings about storage: the database and the deployment's folder."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import SecretStr, field_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from xero_pipeline.settings.base import SettingsGroup, setting

_ENCODE = "write @ as %40, : as %3A and / as %2F"


class StorageSettings(SettingsGroup):
    """The warehouse's address, and the folder of the deployment."""

    database_url_text: SecretStr = setting("DATABASE_URL", SecretStr("sqlite:///data/xero.db"))
    home: Path = setting("DAGSTER_HOME", Path())

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

    @cached_property
    def database_url(self) -> URL:
        """The warehouse's address; an SQLite file's path is absolute."""
        url = make_url(self.database_url_text.get_secret_value())
        if url.get_backend_name() == "sqlite" and url.database:
            return url.set(database=str(self.home_folder / url.database))
        return url


def _require_file(url: URL) -> None:
    if url.host or url.username:
        raise ValueError("must begin with sqlite:/// (three slashes), or four before an absolute path")
    if not url.database or url.database == ":memory:":
        raise ValueError("must name a file: several processes share the database")
    if url.query:
        raise ValueError("must end with the file's name: for SQLite nothing can be set behind a ?")

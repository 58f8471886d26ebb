"""What every group of settings is made of, and the rules that several of them share."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from xero_pipeline.errors import PipelineError


def is_loopback_host(host: str) -> bool:
    """Whether a host name or address is this machine's own: `localhost`, a name below it, or a loopback address."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class SettingsError(PipelineError):
    """A setting is missing or malformed. The text names it and says how to mend it."""

    code = "settings"


class SettingsGroup(BaseSettings):
    """Settings about one subject. Frozen: a process never changes its settings."""

    model_config = SettingsConfigDict(
        env_file_encoding="utf-8", extra="ignore", frozen=True, case_sensitive=True, env_ignore_empty=True
    )

    MEND: ClassVar[Mapping[str, str]] = {}
    """By setting: how to correct a value that Pydantic refuses by its type. The value itself is never repeated."""


def setting(name: str, default: Any = ..., **constraints: Any) -> Any:
    """A field that is read from the environment variable `name`."""
    return Field(default, validation_alias=AliasChoices(name), **constraints)


def require_url(value: str) -> str:
    """Return an http or https address without its last slash.

    Raises:
        ValueError: it is no such address, or it carries a password, a query or a fragment.
    """
    try:
        parts = urlsplit(value)
        is_sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        # A malformed port or an open bracket. Python's own text may repeat a password.
        is_sound = None
    if not is_sound or parts.query or parts.fragment:
        raise ValueError(
            "must be an http or https address, such as https://example.com, with a port from 1 to 65535 or none"
        )
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password")
    return value.rstrip("/")

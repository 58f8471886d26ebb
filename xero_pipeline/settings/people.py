"""Settings about people: who is alerted, and where the admin page and Dagster's UI are reached."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from xero_pipeline.settings.base import SettingsGroup, is_loopback_host, require_url, setting
from xero_pipeline.settings.strength import Insecurity, describe_weak_token, overrule

# Where the admin page serves Dagster's UI.
DAGSTER_PATH = "/dagster"

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
# Headers that visitors send themselves, or that name no person.
_NO_USER_HEADERS = {"authorization", "cookie", "host", "origin", "referer", "user-agent", "x-forwarded-for"}
# The second part of an address that is split here is its user, password and host.
_AUTHORITY = re.compile(r"://|[/?#]")
_BEFORE_ADDRESS = re.compile(rf",\s*(?={_ADDRESS.pattern})")


class PeopleSettings(SettingsGroup):
    """Alerts, the admin page, Dagster's UI."""

    server_url: str = setting("SERVER_URL", "http://localhost:3001")
    alert_urls: Annotated[tuple[SecretStr, ...], NoDecode] = setting("ALERT_URLS", ())
    digest_urls: Annotated[tuple[SecretStr, ...], NoDecode] = setting("DIGEST_URLS", ())
    admin_token: SecretStr | None = setting("ADMIN_TOKEN", None)
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = setting("TRUSTED_PROXIES", ())
    trusted_proxy_user_header: str | None = setting("TRUSTED_PROXY_USER_HEADER", None)
    dagster_url: str = setting("DAGSTER_URL", "http://localhost:3000")
    dagster_code_location: str | None = setting("DAGSTER_CODE_LOCATION", None)

    @field_validator("alert_urls", "digest_urls", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        # Apprise's own rule: an address may contain commas (two recipients of a mail), so a new one begins
        # only where a comma is followed by the beginning of an address.
        if isinstance(value, str):
            return tuple(filter(None, (part.strip(" ,") for part in _BEFORE_ADDRESS.split(value))))
        return value

    @field_validator("alert_urls", "digest_urls")
    @classmethod
    def _are_addresses(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        # Whether Apprise knows the service is found out when an alert is sent. The status then says so.
        for number, url in enumerate(value, start=1):
            if not _ADDRESS.match(url.get_secret_value()):
                raise ValueError(
                    f"must be Apprise addresses, such as mailto://…: number {number} does not begin as one"
                )
            if _AUTHORITY.split(url.get_secret_value())[1].count("@") > 1:
                # A part of the password would be read as the host, and then be shown as the address's name.
                raise ValueError(
                    f"must have one @ at most before each host: number {number} has several; in a user or a password "
                    "write @ as %40"
                )
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _proxies(cls, value: object) -> object:
        return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            try:
                network = ipaddress.ip_network(part, strict=False)
            except ValueError:
                raise ValueError(
                    "must be IP addresses or networks, comma-separated, such as 127.0.0.1 or 10.0.0.0/24"
                ) from None
            if network.prefixlen == 0:
                raise ValueError("must not be every address: then anybody could claim to be anybody")
        return value

    @field_validator("trusted_proxy_user_header")
    @classmethod
    def _is_header(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if not _HEADER.fullmatch(value) or value.lower() in _NO_USER_HEADERS:
            raise ValueError("must be the name of a header in which the proxy names the user, such as X-Forwarded-User")
        if not info.data.get("trusted_proxies"):
            raise ValueError("needs TRUSTED_PROXIES, the addresses of the proxy that sends this header")
        return value

    @field_validator("server_url", "dagster_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return require_url(value)

    def find_weak_people(self) -> Iterator[tuple[Insecurity, str]]:
        """Describe a token that somebody can guess, and an address at which passwords travel in clear text."""
        token = self.admin_token.get_secret_value() if self.admin_token else None
        if token is not None and (problem := describe_weak_token(token)):
            yield (
                Insecurity.WEAK_SECRETS,
                f"ADMIN_TOKEN {problem}: make a new one with `openssl rand -hex 24` and sign in with it, "
                f"{overrule(Insecurity.WEAK_SECRETS)}",
            )
        server = urlsplit(self.server_url)
        if server.scheme == "http" and not is_loopback_host(server.hostname or ""):
            yield (
                Insecurity.PLAIN_HTTP,
                "SERVER_URL must be https off loopback, since sign-ins and figures travel there: put a proxy in front "
                "(deploy/nginx.conf) and register the new redirect URI at Xero, "
                f"{overrule(Insecurity.PLAIN_HTTP)}",
            )

    @property
    def needs_sign_in(self) -> bool:
        """Whether the admin page asks who somebody is. On loopback without these settings it is open."""
        return self.admin_token is not None or self.trusted_proxy_user_header is not None

    @property
    def redirect_uri(self) -> str:
        return f"{self.server_url}/api/v1/xero/callback"

    @property
    def serves_dagster(self) -> bool:
        """Whether the admin page serves Dagster's UI itself, as it does by default.

        A `DAGSTER_URL` with a path, or with the name of another machine, is a `dagster-webserver` of its own.
        """
        dagster = urlsplit(self.dagster_url)
        return not dagster.path and is_loopback_host(dagster.hostname or "")

    @property
    def dagster_page(self) -> str:
        """The address of Dagster's UI for people.

        It is `/dagster` where the admin page is, if that serves it. A `dagster-webserver` on loopback with a path is
        reached at that path, where a proxy serves both (deploy/nginx-separate-ui.conf). Any other is reached directly.
        """
        dagster, server = urlsplit(self.dagster_url), urlsplit(self.server_url)
        if self.serves_dagster:
            return f"{server.scheme}://{server.netloc}{DAGSTER_PATH}"
        if dagster.path and is_loopback_host(dagster.hostname or "") and not is_loopback_host(server.hostname or ""):
            return f"{server.scheme}://{server.netloc}{dagster.path}"
        return self.dagster_url

"""Posts one message to one address of ALERT_URLS or DIGEST_URLS, through Apprise.

Addresses carry passwords and tokens, so none is ever logged, raised or stored. An address is known by its label
instead, such as `E-Mail at smtp.example.com`. Which message is sent, and when, is decided in `alerts.py`.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any

# Apprise's own log lines show addresses with their secrets. `Alerter` reports failures by label instead.
logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)


class MessageKind(StrEnum):
    """How a message looks, on services that show it. The values are Apprise's."""

    FAILURE = "failure"
    WARNING = "warning"
    SUCCESS = "success"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class AlertAddress:
    """One address of ALERT_URLS or DIGEST_URLS."""

    label: str
    url: str = field(repr=False)

    def post(self, title: str, body: str, kind: MessageKind) -> bool:
        """Send a message and return whether the service took it. Never raises.

        Each message gets a new client. Apprise pauses between two messages of one client, for longer than a sensor's
        tick may take. A service that finds our pace too fast refuses, and gets the message again later.
        """
        service = _open_service(self.url)
        if service is None:
            return False
        library = _import_apprise()
        client = library.Apprise(asset=library.AppriseAsset(**_ASSET))
        client.add(service)
        try:
            accepted = client.notify(body=body, title=title, notify_type=kind.value, body_format="text")
        except Exception:  # noqa: BLE001 - the code of a hundred services may raise anything; its text may hold the address
            return False
        return bool(accepted)


# The sender's name in a message.
_ASSET = {"app_id": "xero-pipeline", "app_desc": "xero-pipeline", "app_url": ""}


def read_addresses(urls: Sequence[str], setting: str = "ALERT_URLS") -> list[AlertAddress]:
    """Return the addresses of a setting, each with a unique label that reveals no secret."""
    counts: Counter[str] = Counter()
    addresses = []
    for number, url in enumerate(urls, start=1):
        label = _build_label(url) or f"address {number} of {setting}, which Apprise does not understand"
        counts[label] += 1
        addresses.append(AlertAddress(label if counts[label] == 1 else f"{label} ({counts[label]})", url))
    return addresses


@cache
def _import_apprise() -> Any:
    """Import Apprise on first use: runs and commands without an address do not wait for the import.

    Apprise imports its services with the first address. Some of them import modules that a later Python removes;
    those warnings are for Apprise to fix and stay out of our logs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import apprise

        apprise.Apprise.instantiate("json://localhost")
    return apprise


def _open_service(url: str) -> Any:
    library = _import_apprise()
    try:
        return library.Apprise.instantiate(url, asset=library.AppriseAsset(**_ASSET))
    except Exception:  # noqa: BLE001 - as in `AlertAddress.post`
        return None


def _build_label(url: str) -> str | None:
    service = _open_service(url)
    if service is None:
        return None
    name = str(service.service_name)
    # For an address that begins with a token (Slack, Discord, Telegram …), Apprise gives the token as the host too.
    has_host = all("{host}" in str(template) for template in service.templates)
    return f"{name} at {service.host}" if has_host and service.host else name

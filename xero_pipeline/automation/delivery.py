"""Posting one message to one address of ALERT_URLS, through Apprise.

The addresses carry passwords and tokens: none is ever logged, raised or kept. An address is known by its
label instead, such as `E-Mail at smtp.example.com`. When a message is sent, and which, is `alerts.py`'s.
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

# Apprise's own lines name addresses with what is in them. What failed is told by label, here.
logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)


class MessageKind(StrEnum):
    """How a message looks, where the service shows it."""

    FAILURE = "failure"
    WARNING = "warning"
    SUCCESS = "success"


@dataclass(frozen=True, slots=True)
class AlertAddress:
    """One of ALERT_URLS."""

    label: str
    url: str = field(repr=False)

    def post(self, title: str, body: str, tone: MessageKind) -> bool:
        """Send a message; answers whether the service took it. Never raises.

        A fresh client each time: Apprise's pauses between two messages of one client would outlast a
        sensor's tick, and a service that finds us too fast refuses, and is asked again later.
        """
        service = _service(self.url)
        if service is None:
            return False
        library = _apprise()
        client = library.Apprise(asset=library.AppriseAsset(**_ASSET))
        client.add(service)
        try:
            taken = client.notify(body=body, title=title, notify_type=tone.value, body_format="text")
        except Exception:  # noqa: BLE001 - a hundred services' code; and its text may hold the address
            return False
        return bool(taken)


# How a message is signed.
_ASSET = {"app_id": "xero-pipeline", "app_desc": "xero-pipeline", "app_url": ""}


def read_addresses(urls: Sequence[str]) -> list[AlertAddress]:
    """The addresses, each with a label of its own that gives nothing away."""
    seen: Counter[str] = Counter()
    addresses = []
    for number, url in enumerate(urls, start=1):
        label = _label(url) or f"address {number} of ALERT_URLS, which Apprise does not understand"
        seen[label] += 1
        addresses.append(AlertAddress(label if seen[label] == 1 else f"{label} ({seen[label]})", url))
    return addresses


@cache
def _apprise() -> Any:
    """Apprise, which every run and every command would wait for if it were imported before there is an address.

    It imports its services at the first one. Some of them import what Python is going to drop; that is for
    Apprise to mend, not for our logs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import apprise

        apprise.Apprise.instantiate("json://localhost")
    return apprise


def _service(url: str) -> Any:
    library = _apprise()
    try:
        return library.Apprise.instantiate(url, asset=library.AppriseAsset(**_ASSET))
    except Exception:  # noqa: BLE001 - as above
        return None


def _label(url: str) -> str | None:
    service = _service(url)
    if service is None:
        return None
    name = str(service.service_name)
    # Where an address begins with a token (Slack, Discord, Telegram …), Apprise has it as the host, too.
    has_host = all("{host}" in str(template) for template in service.templates)
    return f"{name} at {service.host}" if has_host and service.host else name

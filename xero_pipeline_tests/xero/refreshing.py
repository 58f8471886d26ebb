"""What the other processes of `test_token_refresh.py` run. A module of its own, so that they start quickly."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import event

from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings


def call_every_organisation(settings: Mapping[str, str]) -> None:
    """Read every organisation's accounts, without those that another process has kept."""
    with Deployment(load_settings(**settings)) as deployment:
        for organisation in deployment.xero.list_organisations():
            assert deployment.build_apis(organisation.tenant_id).get("Accounts", "get_accounts", organisation.tenant_id)


def stop_during_refresh(settings: Mapping[str, str], point: str, marker: Path) -> None:
    """Begin a refresh, create the marker at the given point, and stop there while holding the lock."""

    def stop(*_: object, **__: object) -> Any:
        marker.touch()
        signal.pause()

    with Deployment(load_settings(**settings)) as deployment:
        sign_in: Any = deployment.sign_in
        refresh = sign_in.refresh
        if point == "before the request":
            sign_in.refresh = stop
        elif point == "after the request":
            sign_in.refresh = lambda tokens: stop(refresh(tokens))
        elif point == "before the commit":
            # From here on, the only transaction that writes is the one that saves the new pair.
            def refresh_and_watch(tokens: Any) -> Any:
                fresh = refresh(tokens)
                event.listen(deployment.warehouse.engine, "commit", stop)
                return fresh

            sign_in.refresh = refresh_and_watch
        deployment.access_tokens.get(deployment.xero.list_organisations()[0].tenant_id)

"""The seam: one process's Xero and warehouse, built from the settings, and both as Dagster resources.

The only place where it matters whether Xero is real or the mock: `choose_xero` picks the transport.
Everything above is handed plain objects. The Dagster resources carry no configuration, so no secret can
reach a run's stored config.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dagster as dg
from requests.adapters import BaseAdapter

from xero_pipeline.clock import Clock, SystemClock
from xero_pipeline.grants import Organisation
from xero_pipeline.mock_xero import MockTransport, MockXero
from xero_pipeline.rate_limits import CallLimits
from xero_pipeline.run_liveness import hold_run_lock, worker_tag
from xero_pipeline.settings import Grant, Settings
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.xero.client import Xero
from xero_pipeline.xero.http.permits import OnWait
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline.xero.oauth import AccessTokens, SignIn, XeroApp

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChosenXero:
    """Which Xero a process talks to: how requests reach it, and how the app is known there.

    `transport` is `None` for the network. `mock` is the Xero in this process, where there is one.
    """

    app: XeroApp
    transport: BaseAdapter | None
    mock: MockXero | None = None


def choose_xero(settings: Settings, clock: Clock) -> ChosenXero:
    """The real Xero or the mock: the one place that asks which."""
    mock = MockXero(settings.data_folder / "mock-xero.db", clock) if settings.mock_mode else None
    secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
    app = XeroApp(
        client_id=settings.client_id or "mock-client",
        client_secret=secret or "mock-secret",
        scopes=settings.scopes,
        redirect_uri=settings.redirect_uri,
        # The mock's consent page is served by the admin page, since nothing may leave the machine.
        login_url=f"{settings.server_url}/mock-xero" if mock else settings.login_url,
        identity_url=settings.identity_url,
        custom_connection=settings.grant is Grant.CLIENT_CREDENTIALS,
    )
    return ChosenXero(app, MockTransport(mock) if mock else None, mock)


class Deployment:
    """What one process needs of a deployment; each part is opened when it is first asked for."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None, on_wait: OnWait | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._on_wait = on_wait

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse, whatever the state of its schema (see `Warehouse.require_current`)."""
        return Warehouse.open(self.settings.database_url, self.settings.keys, self.clock)

    @cached_property
    def chosen(self) -> ChosenXero:
        return choose_xero(self.settings, self.clock)

    @property
    def limits(self) -> CallLimits:
        settings = self.settings
        return CallLimits(
            per_minute=settings.calls_per_minute,
            per_day=settings.calls_per_day,
            in_progress=settings.concurrent_calls,
            app_per_minute=settings.app_calls_per_minute,
        )

    @cached_property
    def session(self) -> XeroSession:
        budget = self.warehouse.budget(self.limits)
        return XeroSession(budget, self.clock, transport=self.chosen.transport, on_wait=self._on_wait)

    @cached_property
    def sign_in(self) -> SignIn:
        return SignIn(self.session, self.chosen.app, self.clock)

    @cached_property
    def access_tokens(self) -> AccessTokens:
        return AccessTokens(self.warehouse.tokens, self.sign_in, self.clock)

    def apis(self, tenant_id: str, *, leaving: bool = False) -> XeroApis:
        """Xero's APIs for one organisation, signed in as it; see `AccessTokens.get`."""
        return XeroApis(
            self.session,
            api_url=self.settings.api_url,
            access_token=lambda rejected: self.access_tokens.get(tenant_id, rejected=rejected, for_disconnect=leaving),
        )

    @cached_property
    def xero(self) -> Xero:
        def apis(organisation: Organisation) -> XeroApis:
            return self.apis(organisation.tenant_id)

        return Xero(self.warehouse.tokens.organisations, apis, self.session)

    def close(self) -> None:
        """Close the session, the database and the mock, those that were opened."""
        opened = self.__dict__
        if "chosen" in opened and self.chosen.mock:
            self.chosen.mock.close()
        if "session" in opened:
            self.session.close()
        if "warehouse" in opened:
            self.warehouse.close()

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def open_deployment(settings: Settings, *, on_wait: OnWait | None = None) -> Iterator[Deployment]:
    """A deployment whose database is reachable and migrated.

    Raises:
        WarehouseError: it is not.
    """
    with Deployment(settings, on_wait=on_wait) as deployment:
        deployment.warehouse.require_current()
        yield deployment


Opening = Callable[[Settings], AbstractContextManager[Deployment]]
"""How a sensor opens the deployment: `open_deployment`, or a test's own with its own clock."""


def _log_wait(seconds: float, reason: str) -> None:
    if seconds >= 1:
        log.info("waiting %.0f s, since %s", seconds, reason)


def build_resources(settings: Settings) -> dict[str, Any]:
    """The Dagster resources: `deployment` opens everything once a run and process; the others are its parts."""

    @dg.resource(description="This deployment's database and Xero session, opened once a run.")
    def deployment(context: dg.InitResourceContext) -> Iterator[Deployment]:
        with open_deployment(settings, on_wait=_log_wait) as opened:
            if context.run is None or context.instance is None:
                yield opened
                return
            with hold_run_lock(opened.warehouse.locks, context.run.run_id):
                context.instance.add_run_tags(context.run.run_id, worker_tag())
                yield opened

    @dg.resource(
        description="Xero (or the mock): each organisation's client over the rate-limited session, "
        "with encrypted tokens that refresh themselves.",
        required_resource_keys={"deployment"},
    )
    def xero(context: dg.InitResourceContext) -> Xero:
        return context.resources.deployment.xero  # type: ignore[no-any-return]

    @dg.resource(
        description="The database: tokens, figures, sync log, call budget.", required_resource_keys={"deployment"}
    )
    def warehouse(context: dg.InitResourceContext) -> Warehouse:
        return context.resources.deployment.warehouse  # type: ignore[no-any-return]

    return {"deployment": deployment, "xero": xero, "warehouse": warehouse}

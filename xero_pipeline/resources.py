"""One process's Xero and warehouse, built from the settings, and both as Dagster resources.

`choose_backend` is the only code that depends on whether Xero is the real one or the mock: it chooses the transport.
The code above receives plain objects. The Dagster resources have no configuration, so no secret can get into a run's
stored config.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from requests.adapters import BaseAdapter

from xero_pipeline.clock import Clock, SystemClock
from xero_pipeline.grants import Connection, Organisation, Tokens
from xero_pipeline.mock_xero import MockTransport, MockXero
from xero_pipeline.rate_limits import CallLimits
from xero_pipeline.run_liveness import build_worker_tags, hold_run_lock
from xero_pipeline.settings import Grant, Settings
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.xero.client import Xero
from xero_pipeline.xero.custom_connections import list_custom_connections
from xero_pipeline.xero.http.permits import OnWait
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline.xero.oauth import AccessTokens, SignIn, XeroApp

if TYPE_CHECKING:
    import dagster as dg

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class XeroBackend:
    """The Xero that a process talks to: the app as Xero knows it, and the transport of the requests.

    `transport` is `None` for the network. `mock` is the mock Xero in this process, `None` for the real Xero.
    """

    app: XeroApp
    transport: BaseAdapter | None
    mock: MockXero | None = None


def choose_backend(settings: Settings, clock: Clock) -> XeroBackend:
    """Choose the real Xero or the mock by `XERO_MOCK_MODE`."""
    mock = MockXero(settings.data_folder / "mock-xero.db", clock) if settings.mock_mode else None
    secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
    app = XeroApp(
        client_id=settings.client_id or "mock-client",
        client_secret=secret or "mock-secret",
        scopes=settings.scopes,
        redirect_uri=settings.redirect_uri,
        # In mock mode nothing leaves the machine, so the admin page serves the consent page.
        login_url=f"{settings.server_url}/mock-xero" if mock else settings.login_url,
        identity_url=settings.identity_url,
        custom_connection=settings.grant is Grant.CLIENT_CREDENTIALS,
    )
    return XeroBackend(app, MockTransport(mock) if mock else None, mock)


class Deployment:
    """The parts of a deployment that one process uses. Each part is opened when it is first used."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None, on_wait: OnWait | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._on_wait = on_wait

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse. Its schema is not checked here; `Warehouse.require_current` checks it."""
        return Warehouse.open(self.settings.database_url, self.settings.keys, self.clock)

    @cached_property
    def backend(self) -> XeroBackend:
        return choose_backend(self.settings, self.clock)

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
        budget = self.warehouse.make_call_budget(self.limits)
        return XeroSession(budget, self.clock, transport=self.backend.transport, on_wait=self._on_wait)

    @cached_property
    def sign_in(self) -> SignIn:
        return SignIn(self.session, self.backend.app, self.clock)

    @cached_property
    def access_tokens(self) -> AccessTokens:
        custom = self.backend.app.custom_connection
        return AccessTokens(
            self.warehouse.tokens, self.sign_in, self.clock, self.list_custom_connections if custom else None
        )

    def list_custom_connections(self, tokens: Tokens) -> Sequence[Connection]:
        """List what a Custom Connection's tokens, which need not be stored, open."""
        return list_custom_connections(self.build_apis_for(tokens))

    def build_apis_for(self, tokens: Tokens) -> XeroApis:
        """Build Xero's APIs with these tokens, which need not be stored."""
        return XeroApis(self.session, api_url=self.settings.api_url, access_token=lambda _rejected: tokens.access_token)

    def build_apis(self, tenant_id: str, *, for_disconnect: bool = False) -> XeroApis:
        """Build Xero's APIs for one organisation, with its access token. See `AccessTokens.get`."""
        return XeroApis(
            self.session,
            api_url=self.settings.api_url,
            access_token=lambda rejected: self.access_tokens.get(
                tenant_id, rejected=rejected, for_disconnect=for_disconnect
            ),
        )

    @cached_property
    def xero(self) -> Xero:
        def build_apis(organisation: Organisation) -> XeroApis:
            return self.build_apis(organisation.tenant_id)

        return Xero(self.warehouse.tokens.list_organisations, build_apis, self.session, self.warehouse.facts)

    def close(self) -> None:
        """Close the session, the database and the mock, as far as they were opened."""
        opened = self.__dict__
        if "backend" in opened and self.backend.mock:
            self.backend.mock.close()
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
    """Open a deployment whose database is reachable and migrated, and close it after the block.

    Raises:
        WarehouseError: the database cannot be reached or is not migrated.
    """
    with Deployment(settings, on_wait=on_wait) as deployment:
        deployment.warehouse.require_current()
        yield deployment


DeploymentOpener = Callable[[Settings], AbstractContextManager[Deployment]]
"""How a sensor opens the deployment: `open_deployment`, or a test's own function."""


def _log_wait(seconds: float, reason: str) -> None:
    if seconds >= 1:
        log.info("waiting %.0f s, since %s", seconds, reason)


def build_resources(settings: Settings) -> dict[str, Any]:
    """Build the Dagster resources. `deployment` is opened once in each run's process; the others are parts of it."""
    # Imported here: it takes a second, and most commands have no need of it.
    import dagster as dg

    @dg.resource(description="This deployment's database and Xero session, opened once in each run.")
    def deployment(context: dg.InitResourceContext) -> Iterator[Deployment]:
        with open_deployment(settings, on_wait=_log_wait) as opened:
            if context.run is None or context.instance is None:
                yield opened
                return
            with hold_run_lock(opened.warehouse.locks, context.run.run_id):
                context.instance.add_run_tags(context.run.run_id, build_worker_tags())
                yield opened

    @dg.resource(
        description="Xero (or the mock): each organisation's client over the rate-limited session, "
        "with encrypted tokens that are refreshed automatically.",
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

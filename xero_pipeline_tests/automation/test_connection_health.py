"""The daily check of the connections: what Xero is asked, how often, and what is reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from xero_pipeline.automation.connection_health import ConnectionMonitor, build_connection_health_sensor
from xero_pipeline.connection import ConnectionService
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings
from xero_pipeline_tests.automation.scene import DEMO, OTHER, WEEK, Scene
from xero_pipeline_tests.servers import Answer, SeenRequest

LISTED = [
    {
        "id": connection.connection_id,
        "tenantId": connection.tenant_id,
        "tenantName": connection.tenant_name,
        "tenantType": "ORGANISATION",
    }
    for connection in (DEMO, OTHER)
]


@pytest.fixture(autouse=True)
def both_listed(scene: Scene) -> None:
    scene.xero.routes["connections"] = LISTED
    scene.xero.routes["token"] = answer_refresh
    scene.connect(DEMO, OTHER)


def answer_refresh(request: SeenRequest) -> dict[str, Any]:
    assert request.form["grant_type"] == "refresh_token"
    return {
        "access_token": "fresh-access",
        "refresh_token": "fresh-refresh",
        "expires_in": 1800,
        "token_type": "Bearer",
    }


class Checker:
    """Evaluates as the sensor does: each evaluation passes its check times to the next."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.next_checks: dict[str, str] = {}

    def evaluate(self) -> None:
        self.next_checks = ConnectionMonitor(self.scene.deployment, self.scene.alerter).evaluate(self.next_checks)

    @property
    def call_count(self) -> int:
        return sum(request.path == "/connections" for request in self.scene.xero_server.requests)

    def get_status(self, tenant_id: str) -> ConnectionStatus:
        return self.scene.deployment.warehouse.tokens.get_organisation(tenant_id).status


@pytest.fixture
def checker(scene: Scene) -> Checker:
    return Checker(scene)


def test_xero_is_asked_once_a_day_for_each_consent(scene: Scene, checker: Checker) -> None:
    for _ in range(4):
        checker.evaluate()
        scene.clock.advance(hours=6)
    assert checker.call_count == 1
    checker.evaluate()
    assert checker.call_count == 2
    scene.connect(OTHER)  # a second consent
    checker.evaluate()
    checker.evaluate()
    assert checker.call_count == 3
    assert scene.inbox.messages == []


def test_an_organisation_that_xero_no_longer_lists_is_reported_once_and_again_when_it_is_connected(
    scene: Scene, checker: Checker
) -> None:
    scene.xero.routes["connections"] = LISTED[:1]
    checker.evaluate()
    checker.evaluate()
    assert checker.get_status(DEMO.tenant_id) is ConnectionStatus.CONNECTED
    assert checker.get_status(OTHER.tenant_id) is ConnectionStatus.RECONNECT_NEEDED
    [message] = scene.inbox.take_messages()
    assert message.title == "Other Company: the connection to Xero has ended"
    assert "What to do: Connect again" in message.body
    scene.clock.advance(days=2)
    checker.evaluate()
    scene.evaluate()
    assert scene.inbox.take_messages() == []
    scene.xero.routes["connections"] = LISTED
    scene.connect(DEMO, OTHER)
    checker.evaluate()
    [message] = scene.inbox.take_messages()
    assert message.body == "Other Company is connected to Xero again."


def test_when_xero_lists_nothing_every_organisation_of_the_consent_needs_a_reconnect(
    scene: Scene, checker: Checker
) -> None:
    scene.xero.routes["connections"] = []
    checker.evaluate()
    checker.evaluate()
    assert (
        checker.get_status(DEMO.tenant_id) is checker.get_status(OTHER.tenant_id) is ConnectionStatus.RECONNECT_NEEDED
    )
    assert sorted(scene.inbox.titles) == [
        "Demo Company: the connection to Xero has ended",
        "Other Company: the connection to Xero has ended",
    ]


@pytest.mark.parametrize("detail", ["AuthenticationUnsuccessful", "a detail that nobody knows yet"])
def test_a_list_that_xero_does_not_show_proves_no_lost_connection(scene: Scene, checker: Checker, detail: str) -> None:
    scene.xero.routes["connections"] = Answer(403, json={"Title": "Forbidden", "Detail": detail})
    checker.evaluate()
    scene.clock.advance(hours=1)
    checker.evaluate()
    assert checker.call_count == 2, "it is asked again in an hour"
    assert checker.get_status(DEMO.tenant_id) is checker.get_status(OTHER.tenant_id) is ConnectionStatus.CONNECTED
    assert scene.inbox.messages == []


def test_an_organisation_that_xero_lists_again_is_connected_again_by_itself(scene: Scene, checker: Checker) -> None:
    scene.xero.routes["connections"] = LISTED[:1]
    checker.evaluate()
    assert checker.get_status(OTHER.tenant_id) is ConnectionStatus.RECONNECT_NEEDED
    scene.inbox.take_messages()
    scene.xero.routes["connections"] = LISTED
    scene.clock.advance(hours=1)
    checker.evaluate()
    assert checker.get_status(OTHER.tenant_id) is ConnectionStatus.CONNECTED
    [message] = scene.inbox.take_messages()
    assert message.body == "Other Company is connected to Xero again."


def test_a_refresh_token_that_xero_takes_after_all_restores_its_organisations(scene: Scene, checker: Checker) -> None:
    scene.clock.advance(hours=1)
    scene.xero.routes["token"] = Answer(400, json={"error": "invalid_grant"})
    checker.evaluate()
    assert checker.get_status(DEMO.tenant_id) is ConnectionStatus.RECONNECT_NEEDED
    scene.xero.routes["token"] = answer_refresh
    scene.clock.advance(hours=1)
    checker.evaluate()
    assert checker.get_status(DEMO.tenant_id) is checker.get_status(OTHER.tenant_id) is ConnectionStatus.CONNECTED


def test_an_access_token_that_has_not_expired_proves_nothing_of_a_refused_refresh_token(
    scene: Scene, checker: Checker
) -> None:
    for tenant in (DEMO, OTHER):
        scene.deployment.warehouse.tokens.set_status(tenant.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
    scene.xero.routes["token"] = Answer(400, json={"error": "invalid_grant"})
    checker.evaluate()
    assert checker.get_status(DEMO.tenant_id) is ConnectionStatus.RECONNECT_NEEDED


def test_a_lost_organisation_is_looked_for_at_once_in_an_hour_and_then_once_a_day(
    scene: Scene, checker: Checker
) -> None:
    scene.xero.routes["connections"] = []
    checker.evaluate()
    looked_at = []
    for minute in range(0, 3 * 24 * 60, 30):
        before = checker.call_count
        checker.evaluate()
        if checker.call_count > before:
            looked_at.append(minute / 60)
        scene.clock.advance(minutes=30)
    assert looked_at == [1, 25, 49]


def test_a_check_that_a_clock_a_year_ahead_has_planned_is_due_now(scene: Scene, checker: Checker) -> None:
    scene.clock.advance(days=365)
    checker.evaluate()
    scene.clock.advance(days=-365)
    before = checker.call_count
    checker.evaluate()
    assert checker.call_count == before + 1


def test_a_refresh_token_that_xero_rejects_is_reported(scene: Scene, checker: Checker) -> None:
    scene.clock.advance(hours=1)
    scene.xero.routes["token"] = Answer(400, json={"error": "invalid_grant"})
    checker.evaluate()
    checker.evaluate()
    assert checker.get_status(DEMO.tenant_id) is ConnectionStatus.RECONNECT_NEEDED
    assert len(scene.inbox.messages) == 2


def test_run_failure_alert_reports_a_lost_connection_too_and_only_once(scene: Scene, checker: Checker) -> None:
    scene.xero.routes["connections"] = LISTED[:1]
    scene.deployment.warehouse.tokens.set_status(OTHER.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
    scene.evaluate()
    checker.evaluate()
    scene.fail_run(code="reconnect_needed", tenants=[OTHER.tenant_id])
    scene.evaluate()
    scene.clock.advance(minutes=29)
    scene.evaluate()
    for _ in range(9):
        scene.fail_run(code="organisation_disconnected", tenants=[OTHER.tenant_id])
    scene.evaluate()
    assert scene.inbox.titles == ["Other Company: the connection to Xero has ended"]
    scene.clock.advance(minutes=1)
    scene.evaluate()
    assert scene.inbox.titles[1:] == ["Other Company: the connection to Xero has ended (9 more)"]


def test_a_run_counts_once_however_many_of_its_errors_name_the_lost_connection(scene: Scene) -> None:
    scene.deployment.warehouse.tokens.set_status(OTHER.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
    log, storage = scene.deployment.warehouse.log, scene.instance.daemon_cursor_storage
    cursor = storage.get_cursor_values({"xero_pipeline/run_failure_alert"})
    for _ in range(2):
        run = scene.start_run()
        for code in ("organisation_disconnected", "reconnect_needed"):
            log.fail(log.start(OTHER.tenant_id, "invoices", WEEK, run.run_id), api_calls=1, error_log={"error": code})
        scene.instance.report_run_failed(run)
    scene.evaluate()
    storage.set_cursor_values(cursor)
    scene.evaluate()
    [alert] = scene.alerter.log.list_open()
    assert alert.occurrences == 2


def test_a_failure_from_before_the_new_consent_is_not_reported(scene: Scene) -> None:
    scene.fail_run(code="reconnect_needed")
    scene.clock.advance(minutes=1)
    scene.connect(DEMO)
    scene.evaluate()
    assert scene.inbox.messages == []


def test_an_organisation_that_was_disconnected_on_purpose_is_not_reported(scene: Scene, checker: Checker) -> None:
    scene.xero.routes["connections"] = []
    checker.evaluate()
    scene.inbox.take_messages()
    scene.deployment.warehouse.tokens.forget(DEMO.tenant_id)
    scene.deployment.warehouse.tokens.forget(OTHER.tenant_id)
    checker.evaluate()
    assert scene.inbox.messages == []
    assert scene.alerter.log.list_open() == []


def test_an_unavailable_xero_is_not_reported_and_is_asked_again_in_an_hour(scene: Scene, checker: Checker) -> None:
    scene.xero.routes["connections"] = Answer(503)
    checker.evaluate()
    calls_before = checker.call_count
    checker.evaluate()
    assert checker.call_count == calls_before
    scene.xero.routes["connections"] = LISTED
    scene.clock.advance(hours=1)
    checker.evaluate()
    assert checker.call_count == calls_before + 1
    assert checker.get_status(DEMO.tenant_id) is ConnectionStatus.CONNECTED
    assert scene.inbox.messages == []


def test_a_check_that_fails_until_a_person_acts_is_reported_and_so_is_its_recovery(
    scene: Scene, checker: Checker
) -> None:
    scene.clock.advance(hours=1)
    scene.xero.routes["token"] = Answer(401, json={"error": "invalid_client"})
    checker.evaluate()
    [message] = scene.inbox.take_messages()
    both = "Demo Company and Other Company"
    assert message.title == f"{both}: the connection cannot be checked, Xero refuses the app itself"
    assert "XERO_CLIENT_SECRET" in message.body
    scene.xero.routes["token"] = answer_refresh
    scene.clock.advance(hours=1)
    checker.evaluate()
    assert [message.kind for message in scene.inbox.take_messages()] == ["success"]


def test_tokens_that_no_key_decrypts_are_reported(scene: Scene, checker: Checker) -> None:
    other_keys = scene.settings.model_copy(update={"encryption_key": type(scene.settings.encryption_key)("7a" * 32)})
    with Deployment(other_keys, clock=scene.clock) as deployment:
        ConnectionMonitor(deployment, scene.alerter).evaluate({})
    assert scene.inbox.titles == [
        "Demo Company and Other Company: the connection cannot be checked, the stored tokens cannot be decrypted"
    ]


def test_a_refresh_token_near_its_expiry_is_reported_once_at_fourteen_days_and_once_at_three(
    scene: Scene, checker: Checker
) -> None:
    scene.xero.routes["token"] = Answer(503)
    titles = []
    started_at = scene.clock.now()
    for days_left in (60, 30, 16, 15, 14, 13, 8, 4, 3, 2, 1, 0):
        scene.clock.moment = started_at + timedelta(days=60 - days_left)
        checker.evaluate()
        titles += [(days_left, message.title) for message in scene.inbox.take_messages()]
    assert titles == [
        (14, "Demo Company and Other Company: the connection to Xero ends in 14 days"),
        (3, "Demo Company and Other Company: the connection to Xero ends in 3 days"),
    ]
    scene.xero.routes["token"] = answer_refresh
    scene.clock.advance(hours=1)
    checker.evaluate()
    [message] = scene.inbox.take_messages()
    assert message.body == "The connection of Demo Company and Other Company was renewed."
    assert scene.alerter.log.list_open() == []


def test_a_custom_connection_has_no_refresh_token_that_expires(scene: Scene, checker: Checker) -> None:
    scene.connect(DEMO, OTHER, refresh_token="", expires_at=scene.clock.now() + timedelta(days=400))
    scene.clock.advance(days=100)
    checker.evaluate()
    assert scene.inbox.messages == []


def test_a_scope_that_the_consent_lacks_is_reported_once_and_again_when_it_is_granted(
    scene: Scene, checker: Checker
) -> None:
    granted = scene.settings.scopes.replace(" accounting.reports.banksummary.read", "")
    scene.connect(DEMO, OTHER, scope=granted)
    checker.evaluate()
    checker.evaluate()
    [message] = scene.inbox.take_messages()
    assert message.title == "Demo Company and Other Company: the consent at Xero lacks a scope"
    assert "asks for accounting.reports.banksummary.read, which" in message.body
    scene.connect(DEMO, OTHER)
    checker.evaluate()
    assert [message.kind for message in scene.inbox.take_messages()] == ["success"]


def test_scopes_that_the_sync_does_not_need_are_not_reported_as_missing(scene: Scene, checker: Checker) -> None:
    scene.connect(DEMO, OTHER, scope=scene.settings.scopes.replace("offline_access ", ""))
    checker.evaluate()
    scene.connect(DEMO, OTHER, scope="")
    checker.evaluate()
    assert scene.inbox.messages == []


@pytest.fixture
def sensor(scene: Scene) -> dg.SensorDefinition:
    @contextmanager
    def opener(_settings: Settings) -> Iterator[Deployment]:
        yield scene.deployment

    return build_connection_health_sensor(scene.settings, opener=opener)


def test_the_sensor_keeps_its_state_between_ticks_and_is_stopped_by_default(
    scene: Scene, checker: Checker, sensor: dg.SensorDefinition
) -> None:
    assert sensor.name == "connection_health"
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    for _ in range(3):
        result = sensor(dg.build_sensor_context(instance=scene.instance))
        assert isinstance(result, dg.SkipReason)
        scene.clock.advance(minutes=1)
    assert checker.call_count == 1


def test_after_a_tick_that_was_cut_off_the_next_one_does_not_ask_xero_again_at_once(
    scene: Scene, checker: Checker, sensor: dg.SensorDefinition
) -> None:
    class CutOff(BaseException):
        """Raised as when Dagster ends a tick that takes too long."""

    def cut_off(_self: object, _tenant_id: str) -> None:
        raise CutOff

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConnectionService, "list_connections_at_xero", cut_off)
        with pytest.raises(CutOff):
            sensor(dg.build_sensor_context(instance=scene.instance))
    sensor(dg.build_sensor_context(instance=scene.instance))
    assert checker.call_count == 0
    scene.clock.advance(hours=1)
    sensor(dg.build_sensor_context(instance=scene.instance))
    assert checker.call_count == 1

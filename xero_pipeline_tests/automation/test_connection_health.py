"""The daily look at the connections: what is asked of Xero, how often, and what is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from xero_pipeline.automation.connection_health import HealthCheck, connection_health_sensor
from xero_pipeline.connection import ConnectionService
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings
from xero_pipeline_tests.automation.scene import DEMO, OTHER, WEEK, Scene
from xero_pipeline_tests.servers import Answer, SeenRequest

LISTED = [
    {"id": one.connection_id, "tenantId": one.tenant_id, "tenantName": one.tenant_name, "tenantType": "ORGANISATION"}
    for one in (DEMO, OTHER)
]


@pytest.fixture(autouse=True)
def both_listed(scene: Scene) -> None:
    scene.xero.routes["connections"] = LISTED
    scene.xero.routes["token"] = refreshed
    scene.connect(DEMO, OTHER)


def refreshed(request: SeenRequest) -> dict[str, Any]:
    assert request.form["grant_type"] == "refresh_token"
    return {
        "access_token": "fresh-access",
        "refresh_token": "fresh-refresh",
        "expires_in": 1800,
        "token_type": "Bearer",
    }


class Checker:
    """The check as the sensor makes it: what one look leaves is given to the next."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.due: dict[str, str] = {}

    def look(self) -> None:
        self.due = HealthCheck(self.scene.deployment, self.scene.alerter).look(self.due)

    @property
    def asked(self) -> int:
        return sum(request.path == "/connections" for request in self.scene.at_xero.requests)

    def status(self, tenant_id: str) -> ConnectionStatus:
        return self.scene.deployment.warehouse.tokens.organisation(tenant_id).status


@pytest.fixture
def checker(scene: Scene) -> Checker:
    return Checker(scene)


def test_xero_is_asked_once_a_day_for_each_consent(scene: Scene, checker: Checker) -> None:
    for _ in range(4):
        checker.look()
        scene.clock.advance(hours=6)
    assert checker.asked == 1
    checker.look()
    assert checker.asked == 2
    scene.connect(OTHER)  # a consent of its own
    checker.look()
    checker.look()
    assert checker.asked == 3
    assert scene.inbox.messages == []


def test_an_organisation_that_xero_lists_no_more_is_told_once_and_again_when_it_is_connected(
    scene: Scene, checker: Checker
) -> None:
    scene.xero.routes["connections"] = LISTED[:1]
    checker.look()
    checker.look()
    assert checker.status(DEMO.tenant_id) is ConnectionStatus.CONNECTED
    assert checker.status(OTHER.tenant_id) is ConnectionStatus.RECONNECT_NEEDED
    [message] = scene.inbox.taken()
    assert message.title == "Other Company: the connection to Xero has ended"
    assert "What to do: Connect again" in message.body
    scene.clock.advance(days=2)
    checker.look()
    scene.look()
    assert scene.inbox.taken() == []
    scene.xero.routes["connections"] = LISTED
    scene.connect(DEMO, OTHER)
    checker.look()
    [message] = scene.inbox.taken()
    assert message.body == "Other Company is connected to Xero again."


@pytest.mark.parametrize(
    "answer",
    [
        Answer(json=[]),
        Answer(403, json={"Title": "Forbidden", "Detail": "AuthenticationUnsuccessful"}),
        Answer(403, json={"Title": "Forbidden", "Detail": "something that Xero says tomorrow"}),
    ],
    ids=["an empty list", "403", "another 403"],
)
def test_when_xero_lists_nothing_or_forbids_it_the_whole_consent_has_to_be_given_again(
    scene: Scene, checker: Checker, answer: Answer
) -> None:
    scene.xero.routes["connections"] = answer
    checker.look()
    checker.look()
    assert checker.status(DEMO.tenant_id) is checker.status(OTHER.tenant_id) is ConnectionStatus.RECONNECT_NEEDED
    assert sorted(scene.inbox.titles) == [
        "Demo Company: the connection to Xero has ended",
        "Other Company: the connection to Xero has ended",
    ]


def test_a_dead_refresh_token_is_found_out_and_told(scene: Scene, checker: Checker) -> None:
    scene.clock.advance(hours=1)
    scene.xero.routes["token"] = Answer(400, json={"error": "invalid_grant"})
    checker.look()
    checker.look()
    assert checker.status(DEMO.tenant_id) is ConnectionStatus.RECONNECT_NEEDED
    assert len(scene.inbox.messages) == 2


def test_the_sensor_that_always_runs_tells_of_a_lost_connection_too_and_only_once(
    scene: Scene, checker: Checker
) -> None:
    scene.deployment.warehouse.tokens.set_status(OTHER.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
    scene.look()
    checker.look()
    scene.failing_run(code="reconnect_needed", tenants=[OTHER.tenant_id])
    scene.look()
    scene.clock.advance(minutes=29)
    scene.look()
    for _ in range(9):
        scene.failing_run(code="organisation_disconnected", tenants=[OTHER.tenant_id])
    scene.look()
    assert scene.inbox.titles == ["Other Company: the connection to Xero has ended"]
    scene.clock.advance(minutes=1)
    scene.look()
    assert scene.inbox.titles[1:] == ["Other Company: the connection to Xero has ended (9 more)"]


def test_a_run_counts_once_in_however_many_ways_it_says_that_the_connection_is_lost(scene: Scene) -> None:
    scene.deployment.warehouse.tokens.set_status(OTHER.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
    log, storage = scene.deployment.warehouse.log, scene.instance.daemon_cursor_storage
    place = storage.get_cursor_values({"xero_pipeline/run_failure_alert"})
    for _ in range(2):
        run = scene.run()
        for code in ("organisation_disconnected", "reconnect_needed"):
            log.fail(log.start(OTHER.tenant_id, "invoices", WEEK, run.run_id), api_calls=1, error_log={"error": code})
        scene.instance.report_run_failed(run)
    scene.look()
    storage.set_cursor_values(place)
    scene.look()
    [alert] = scene.alerter.log.open_alerts()
    assert alert.occurrences == 2


def test_a_failure_from_before_the_new_consent_is_old_news(scene: Scene) -> None:
    scene.failing_run(code="reconnect_needed")
    scene.clock.advance(minutes=1)
    scene.connect(DEMO)
    scene.look()
    assert scene.inbox.messages == []


def test_an_organisation_that_was_disconnected_on_purpose_is_not_missed(scene: Scene, checker: Checker) -> None:
    scene.xero.routes["connections"] = []
    checker.look()
    scene.inbox.taken()
    scene.deployment.warehouse.tokens.forget(DEMO.tenant_id)
    scene.deployment.warehouse.tokens.forget(OTHER.tenant_id)
    checker.look()
    assert scene.inbox.messages == []
    assert scene.alerter.log.open_alerts() == []


def test_xero_that_is_down_is_no_news_and_is_asked_again_in_an_hour(scene: Scene, checker: Checker) -> None:
    scene.xero.routes["connections"] = Answer(503)
    checker.look()
    tries = checker.asked
    checker.look()
    assert checker.asked == tries
    scene.xero.routes["connections"] = LISTED
    scene.clock.advance(hours=1)
    checker.look()
    assert checker.asked == tries + 1
    assert checker.status(DEMO.tenant_id) is ConnectionStatus.CONNECTED
    assert scene.inbox.messages == []


def test_a_check_that_only_a_person_can_mend_is_told_and_when_it_works_again(scene: Scene, checker: Checker) -> None:
    scene.clock.advance(hours=1)
    scene.xero.routes["token"] = Answer(401, json={"error": "invalid_client"})
    checker.look()
    [message] = scene.inbox.taken()
    both = "Demo Company and Other Company"
    assert message.title == f"{both}: the connection cannot be checked, Xero refuses the app itself"
    assert "XERO_CLIENT_SECRET" in message.body
    scene.xero.routes["token"] = refreshed
    scene.clock.advance(hours=1)
    checker.look()
    assert [one.tone for one in scene.inbox.taken()] == ["success"]


def test_tokens_that_no_key_opens_are_told_too(scene: Scene, checker: Checker) -> None:
    other_keys = scene.settings.model_copy(update={"encryption_key": type(scene.settings.encryption_key)("7a" * 32)})
    with Deployment(other_keys, clock=scene.clock) as deployment:
        HealthCheck(deployment, scene.alerter).look({})
    assert scene.inbox.titles == [
        "Demo Company and Other Company: the connection cannot be checked, the stored tokens cannot be decrypted"
    ]


def test_a_refresh_token_that_is_about_to_die_is_told_at_fourteen_and_at_three_days_once_each(
    scene: Scene, checker: Checker
) -> None:
    scene.xero.routes["token"] = Answer(503)
    titles = []
    begun = scene.clock.now()
    for left in (60, 30, 16, 15, 14, 13, 8, 4, 3, 2, 1, 0):
        scene.clock.moment = begun + timedelta(days=60 - left)
        checker.look()
        titles += [(left, message.title) for message in scene.inbox.taken()]
    assert titles == [
        (14, "Demo Company and Other Company: the connection to Xero ends in 14 days"),
        (3, "Demo Company and Other Company: the connection to Xero ends in 3 days"),
    ]
    scene.xero.routes["token"] = refreshed
    scene.clock.advance(hours=1)
    checker.look()
    [message] = scene.inbox.taken()
    assert message.body == "The connection of Demo Company and Other Company was renewed."
    assert scene.alerter.log.open_alerts() == []


def test_a_custom_connection_has_nothing_that_dies(scene: Scene, checker: Checker) -> None:
    scene.connect(DEMO, OTHER, refresh_token="", expires_at=scene.clock.now() + timedelta(days=400))
    scene.clock.advance(days=100)
    checker.look()
    assert scene.inbox.messages == []


def test_a_scope_that_the_consent_lacks_is_named_until_it_is_there(scene: Scene, checker: Checker) -> None:
    granted = scene.settings.scopes.replace(" accounting.reports.banksummary.read", "")
    scene.connect(DEMO, OTHER, scope=granted)
    checker.look()
    checker.look()
    [message] = scene.inbox.taken()
    assert message.title == "Demo Company and Other Company: the consent at Xero lacks a scope"
    assert "asks for accounting.reports.banksummary.read, which" in message.body
    scene.connect(DEMO, OTHER)
    checker.look()
    assert [one.tone for one in scene.inbox.taken()] == ["success"]


def test_scopes_that_nothing_needs_are_not_missed(scene: Scene, checker: Checker) -> None:
    scene.connect(DEMO, OTHER, scope=scene.settings.scopes.replace("offline_access ", ""))
    checker.look()
    scene.connect(DEMO, OTHER, scope="")
    checker.look()
    assert scene.inbox.messages == []


@pytest.fixture
def sensor(scene: Scene) -> dg.SensorDefinition:
    @contextmanager
    def opening(_settings: Settings) -> Iterator[Deployment]:
        yield scene.deployment

    return connection_health_sensor(scene.settings, opening=opening)


def test_the_sensor_remembers_between_its_ticks_and_waits_until_somebody_starts_it(
    scene: Scene, checker: Checker, sensor: dg.SensorDefinition
) -> None:
    assert sensor.name == "connection_health"
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    for _ in range(3):
        result = sensor(dg.build_sensor_context(instance=scene.instance))
        assert isinstance(result, dg.SkipReason)
        scene.clock.advance(minutes=1)
    assert checker.asked == 1


def test_a_tick_that_was_cut_off_while_it_asked_xero_does_not_ask_again_at_once(
    scene: Scene, checker: Checker, sensor: dg.SensorDefinition
) -> None:
    class CutOff(BaseException):
        """As when Dagster ends a tick that takes too long."""

    def cut_off(_self: object, _tenant_id: str) -> None:
        raise CutOff

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConnectionService, "still_connected", cut_off)
        with pytest.raises(CutOff):
            sensor(dg.build_sensor_context(instance=scene.instance))
    sensor(dg.build_sensor_context(instance=scene.instance))
    assert checker.asked == 0
    scene.clock.advance(hours=1)
    sensor(dg.build_sensor_context(instance=scene.instance))
    assert checker.asked == 1

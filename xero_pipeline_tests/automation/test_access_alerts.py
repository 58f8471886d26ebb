"""What the admin page and the command line have stored about access is sent by the sensor, once."""

from __future__ import annotations

from datetime import timedelta

from xero_pipeline.audit import AuditTrail
from xero_pipeline.automation.access_alerts import notify_access
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.warehouse.access.audit_log import Actor, AuditAction
from xero_pipeline_tests.automation.scene import Scene

ANN = Actor("ann", "owner", "203.0.113.7")


def tick(scene: Scene) -> None:
    alerter = open_alerter(scene.deployment)
    notify_access(scene.deployment, alerter)
    alerter.flush()


def test_a_connection_and_a_disconnect_are_each_told_once_and_never_recover(scene: Scene) -> None:
    trail = AuditTrail(scene.deployment.warehouse)
    trail.record(ANN, AuditAction.CONNECT, "Alpha")
    scene.clock.advance(seconds=1)
    trail.record(ANN, AuditAction.DISCONNECT, "Alpha")
    trail.record(ANN, AuditAction.DISCONNECT, "Alpha", outcome="xero_unavailable")
    trail.record(ANN, AuditAction.SYNC, "week")
    assert scene.inbox.take_messages() == [], "the process that records sends nothing"
    for _ in range(3):
        tick(scene)
        scene.clock.advance(seconds=30)
    messages = scene.inbox.take_messages()
    assert [message.title for message in messages] == ["Alpha: connected to Xero", "Alpha: disconnected from Xero"]
    assert "ann (owner, from 203.0.113.7) connected Alpha." in messages[0].body
    assert open_alerter(scene.deployment).log.list_open() == []


def test_an_event_stays_until_it_was_told(scene: Scene) -> None:
    AuditTrail(scene.deployment.warehouse).record(ANN, AuditAction.CONNECT, "Alpha")
    notify_access(scene.deployment, open_alerter(scene.deployment))
    assert len(open_alerter(scene.deployment).log.list_open()) == 1
    tick(scene)
    assert scene.inbox.titles == ["Alpha: connected to Xero"]


def test_guessing_is_told_once_then_counted_and_its_end_is_told(scene: Scene) -> None:
    trail = AuditTrail(scene.deployment.warehouse)
    for _ in range(40):
        for _ in range(50):
            trail.record_guess("198.51.100.7", throttled=True)
        tick(scene)
        scene.clock.advance(minutes=1)
    [first] = scene.inbox.take_messages()
    assert first.title == "Somebody is guessing the access token of the admin page"
    scene.clock.advance(hours=1, minutes=50)
    trail.record_guess("198.51.100.7", throttled=True)
    tick(scene)
    assert scene.inbox.take_messages() == []
    scene.clock.moment += timedelta(hours=2, seconds=1)
    tick(scene)
    [last] = scene.inbox.take_messages()
    assert last.title.startswith("Recovered: Somebody is guessing")
    assert "Nobody has tried a wrong token for two hours." in last.body

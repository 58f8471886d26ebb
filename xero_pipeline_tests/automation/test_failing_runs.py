"""From a failing sync to the message in the bookkeeper's inbox: real runs, real posts, real mail."""

from __future__ import annotations

import dagster as dg
from pydantic import SecretStr

from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.failure_alert import FailureMonitor
from xero_pipeline.automation.jobs import build_range_tags
from xero_pipeline.definitions import build_defs
from xero_pipeline.resources import Deployment
from xero_pipeline_tests.automation.mailbox import Mailbox
from xero_pipeline_tests.automation.scene import DEMO, WEEK, Scene
from xero_pipeline_tests.deployment import remove_checks
from xero_pipeline_tests.servers import Answer


def sync(deployment: Deployment, instance: dg.DagsterInstance, *, checks: bool = True) -> dg.ExecuteInProcessResult:
    definitions = build_defs(
        settings=deployment.settings,
        resource_overrides={"xero": deployment.xero, "warehouse": deployment.warehouse, "deployment": deployment},
    )
    job = definitions.resolve_job_def("weekly_sync")
    return (job if checks else remove_checks(job)).execute_in_process(
        instance=instance,
        tags=build_range_tags(WEEK, WEEK),
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )


def test_ten_failing_syncs_in_a_row_and_one_that_lands_send_three_messages_by_web_and_by_mail(
    sqlite_scene: Scene,
) -> None:
    scene, good_routes = sqlite_scene, dict(sqlite_scene.xero.routes)
    with Mailbox() as mailbox:
        addresses = SecretStr(scene.inbox.address), SecretStr(mailbox.address)
        settings = scene.settings.model_copy(update={"alert_urls": addresses})
        with Deployment(settings, clock=scene.clock) as deployment:

            def evaluate() -> None:
                alerter = open_alerter(deployment)
                FailureMonitor(scene.instance, deployment, alerter).evaluate()
                alerter.flush()

            scene.xero.routes["ProfitAndLoss"] = Answer(400, json={"Message": "1,234.56 is not what we expected"})
            for _ in range(10):
                assert not sync(deployment, scene.instance, checks=False).success
                evaluate()
            [first] = scene.inbox.messages
            assert first.title == "Demo Company: Xero refused a request"
            assert "Week ending 2026-11-21: profit and loss." in first.body
            assert "1,234.56" not in first.body
            scene.clock.advance(minutes=30)
            evaluate()
            scene.xero.routes.update(good_routes)
            assert sync(deployment, scene.instance).success
            evaluate()
            evaluate()
    assert scene.inbox.titles == [
        "Demo Company: Xero refused a request",
        "Demo Company: Xero refused a request (9 more)",
        "Recovered: Demo Company: Xero refused a request",
    ]
    assert [mail["Subject"] for mail in mailbox.mails] == scene.inbox.titles


def test_a_sync_notices_that_its_organisation_was_disconnected_at_xero(scene: Scene) -> None:
    scene.xero.routes["ProfitAndLoss"] = Answer(403, json={"Detail": "AuthenticationUnsuccessful"})
    assert not sync(scene.deployment, scene.instance).success
    scene.evaluate()
    assert scene.inbox.titles[0] == "Demo Company: the connection to Xero has ended"
    assert scene.deployment.warehouse.tokens.get_organisation(DEMO.tenant_id).status == "reconnect_needed"
    assert len(scene.inbox.messages) == 1


def test_a_sync_without_any_connection_says_so(scene: Scene) -> None:
    scene.deployment.warehouse.tokens.forget(DEMO.tenant_id)
    assert not sync(scene.deployment, scene.instance).success
    scene.evaluate()
    [message] = scene.inbox.messages
    assert message.title == "Sync failed: no organisation is connected to Xero"
    assert "Week ending 2026-11-21." in message.body

"""What ends by itself at Xero ends by itself here: no answer marks an organisation as lost that is still connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from xero_pipeline.automation.planning import find_weeks_in_backoff
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.mock_xero import FaultKind, MockFault
from xero_pipeline.rate_limits import RateLimitKind
from xero_pipeline_tests.deployment import TENANT, RunningDeployment, run_deployment

TOKEN_EXPIRED = '{"Title": "Unauthorized", "Status": 401, "Detail": "TokenExpired"}'
NOT_LET_IN = '{"Title": "Forbidden", "Status": 403, "Detail": "AuthenticationUnsuccessful"}'


def get_status(deployed: RunningDeployment) -> ConnectionStatus:
    return deployed.warehouse.tokens.get_organisation(TENANT).status


@pytest.mark.parametrize(
    "fault",
    [
        MockFault(FaultKind.STATUS, path="/api.xro/", status=401, body=TOKEN_EXPIRED, times=None),
        MockFault(FaultKind.STATUS, path="/api.xro/", status=403, body=NOT_LET_IN, times=None),
    ],
    ids=["401 TokenExpired", "403 while the list has it"],
)
def test_an_organisation_stays_connected_whatever_xero_answers_while_it_lists_it(
    tmp_path: Path, fault: MockFault
) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.mock.add_fault(fault)
        assert not deployed.sync().success
        assert get_status(deployed) is ConnectionStatus.CONNECTED
        assert {entry.error_log["error"] for entry in deployed.warehouse.log.list_newest(9)} == {"xero_unavailable"}
        deployed.mock.clear_faults()
        assert deployed.sync().success


def test_an_organisation_that_the_list_no_longer_has_must_be_connected_again(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.mock.disconnect(TENANT)
        assert not deployed.sync().success
        assert get_status(deployed) is ConnectionStatus.RECONNECT_NEEDED


def test_a_refused_grant_of_a_custom_connection_needs_no_person(tmp_path: Path) -> None:
    settings = {"XERO_GRANT": "client_credentials", "XERO_CLIENT_ID": "app", "XERO_CLIENT_SECRET": "a-secret"}
    with run_deployment(tmp_path, **settings) as deployed:
        refusal = MockFault(
            FaultKind.STATUS, path="/connect/token", status=400, body='{"error": "invalid_grant"}', times=None
        )
        deployed.mock.add_fault(refusal)
        deployed.clock.advance(hours=1)
        assert not deployed.sync().success
        assert get_status(deployed) is ConnectionStatus.CONNECTED
        assert {entry.error_log["error"] for entry in deployed.warehouse.log.list_newest(3)} == {"app_refused"}
        deployed.mock.clear_faults()
        deployed.clock.advance(minutes=2)
        assert deployed.sync().success


def test_a_run_gives_up_within_ten_minutes_on_a_minute_limit_that_never_ends(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.mock.add_fault(
            MockFault(
                FaultKind.STATUS,
                path="/api.xro/",
                status=429,
                headers={"X-Rate-Limit-Problem": "minute", "Retry-After": "60"},
                times=None,
            )
        )
        began_at = deployed.clock.now()
        assert not deployed.sync(deployed.latest.shift(-2), deployed.latest).success
        assert (deployed.clock.now() - began_at).total_seconds() <= 600
        assert {entry.error_log["error"] for entry in deployed.warehouse.log.list_newest(9)} <= {
            "minute_limit",
            "xero_unavailable",
        }
        deployed.mock.clear_faults()
        deployed.clock.advance(minutes=2)
        assert deployed.sync(deployed.latest.shift(-2), deployed.latest).success


def test_one_429_that_asks_for_ages_shuts_nobody_off(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        headers = {"X-Rate-Limit-Problem": "minute", "Retry-After": "99999999999"}
        deployed.mock.add_fault(MockFault(FaultKind.STATUS, path="/api.xro/", status=429, headers=headers))
        began_at = deployed.clock.now()
        assert deployed.sync().success
        assert (deployed.clock.now() - began_at).total_seconds() <= 121


def test_a_block_of_years_that_is_stored_already_ends_in_two_minutes(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        budget = deployed.deployment.session.budget
        budget.block(TENANT, RateLimitKind.MINUTE, deployed.clock.now().replace(year=2099))
        began_at = deployed.clock.now()
        assert deployed.sync().success
        assert (deployed.clock.now() - began_at).total_seconds() <= 121


def test_a_failure_of_a_clock_that_was_ahead_makes_no_week_wait(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        week = deployed.latest
        deployed.mock.add_fault(MockFault(FaultKind.STATUS, path="Invoices", status=400, body="{}"))
        deployed.clock.advance(days=300)
        assert not deployed.sync(week).success
        assert find_weeks_in_backoff(deployed.warehouse.log, TENANT, deployed.clock.now()) == {week}
        deployed.clock.advance(days=-300)
        assert find_weeks_in_backoff(deployed.warehouse.log, TENANT, deployed.clock.now()) == set()

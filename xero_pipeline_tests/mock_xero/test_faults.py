"""Faults affect the requests that they name, as often as they say, and nothing else."""

from __future__ import annotations

import pytest
import requests
import urllib3

from xero_pipeline.mock_xero import FaultKind, MockFault
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import TENANT, Client

WEEK = {"fromDate": "2026-11-15", "toDate": "2026-11-21"}


def test_a_status_fault_answers_with_its_body_and_headers_as_often_as_it_says(client: Client) -> None:
    client.mock.add_fault(
        MockFault(FaultKind.STATUS, path="Accounts", times=2, status=503, body="offline", headers={"Retry-After": "7"})
    )
    for _ in range(2):
        response = client.get("Accounts")
        assert (response.status_code, response.text, response.headers["Retry-After"]) == (503, "offline", "7")
        assert "X-MinLimit-Remaining" in response.headers
    assert client.get("Accounts").status_code == 200


def test_a_fault_that_skips_two_requests_affects_only_the_third(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.STATUS, path="Organisation$", skip=2))
    assert [client.get("Organisation").status_code for _ in range(4)] == [200, 200, 500, 200]


def test_a_fault_without_a_count_lasts_until_it_is_cleared(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.STATUS, times=None))
    assert [client.get("Organisation").status_code for _ in range(3)] == [500] * 3
    client.mock.clear_faults()
    assert client.get("Organisation").status_code == 200


@pytest.mark.parametrize("fault", [{"method": "DELETE"}, {"path": "Invoices"}, {"tenant_id": "tenant-b"}])
def test_a_fault_leaves_requests_that_it_does_not_name_alone(client: Client, fault: dict[str, str]) -> None:
    client.mock.add_fault(MockFault(FaultKind.STATUS, **fault))
    assert client.get("Organisation").status_code == 200


def test_faults_apply_in_the_order_in_which_they_were_armed(client: Client) -> None:
    for status in (500, 502, 503):
        client.mock.add_fault(MockFault(FaultKind.STATUS, status=status, tenant_id=TENANT, method="get"))
    assert [client.get("Organisation").status_code for _ in range(4)] == [500, 502, 503, 200]


def test_a_dropped_connection_raises_a_connection_error(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.DROP))
    with pytest.raises(requests.exceptions.ConnectionError):
        client.get("Organisation")
    assert client.mock.request_log()[-1]["broken"] == "drop"


def test_a_time_out_raises_a_read_timeout(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.TIME_OUT))
    with pytest.raises(requests.exceptions.ReadTimeout):
        client.get("Organisation")


def test_reading_a_cut_body_raises(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.CUT, times=2, keep=30))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get("Organisation")
    request = client.session.prepare_request(
        requests.Request(
            "GET",
            "https://api.xero.com/api.xro/2.0/Organisation",
            headers={
                "Authorization": f"Bearer {client.tokens['access_token']}",
                "xero-tenant-id": TENANT,
                "Accept": "application/json",
            },
        )
    )
    response = client.session.send(request, stream=True, timeout=5)
    assert int(response.headers["Content-Length"]) > 30
    assert len(response.raw.read1(1000)) == 30
    with pytest.raises(urllib3.exceptions.ProtocolError):
        response.raw.read1(1000)
    response.close()


def test_a_truncated_body_looks_whole_but_is_not_json(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.TRUNCATE, keep=50))
    response = client.get("Accounts")
    assert (response.status_code, len(response.content)) == (200, 50)
    with pytest.raises(requests.exceptions.JSONDecodeError):
        response.json()


def test_invalid_json_has_the_content_type_of_json(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.INVALID_JSON))
    response = client.get("Accounts")
    assert response.headers["Content-Type"].startswith("application/json")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        response.json()


def test_a_delay_sleeps_by_the_clock(client: Client, clock: FakeClock) -> None:
    client.mock.add_fault(MockFault(FaultKind.DELAY, seconds=45))
    assert client.get("Accounts").status_code == 200
    assert clock.slept == [45]


def test_a_fault_makes_reports_and_lists_ignore_the_requested_dates(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.IGNORE_DATES, times=3))
    titles = client.get_json("Reports/ProfitAndLoss", WEEK)["Reports"][0]["ReportTitles"]
    assert titles[2] == "1 November 2026 to 30 November 2026"
    titles = client.get_json("Reports/BankSummary", WEEK)["Reports"][0]["ReportTitles"]
    assert titles[2] == "From 1 November 2026 to 30 November 2026"
    where = "Date>=DateTime(2026, 11, 15) AND Date<DateTime(2026, 11, 22)"
    rows = client.get_json("Invoices", {"where": where, "page": 1, "pageSize": 1000})["Invoices"]
    assert min(row["DateString"] for row in rows) < "2026-11-15"


def test_a_role_without_reports_gets_403_on_reports_only(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.NO_REPORTS, times=None))
    assert client.get("Organisation").status_code == 200
    for path in ("Reports/ProfitAndLoss", "Reports/BankSummary"):
        response = client.get(path, WEEK)
        assert response.status_code == 403
        assert "AuthenticationUnsuccessful" not in response.text


def test_a_refresh_takes_effect_if_its_answer_is_lost_but_not_if_it_never_arrived(client: Client) -> None:
    for handled, refreshes in ((True, 1), (False, 1)):
        client.mock.add_fault(MockFault(FaultKind.DROP, path="/connect/token", handled=handled))
        with pytest.raises(requests.exceptions.ConnectionError):
            client.refresh()
        assert client.mock.counters()["refreshes"] == refreshes
    # The old token is accepted again, since its answer was lost.
    assert client.refresh().status_code == 200


def test_a_request_that_is_not_admitted_uses_up_no_fault(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.STATUS))
    assert client.get("Organisation", tenant="no-such-tenant").status_code == 403
    assert client.get("Organisation").status_code == 500


def test_faults_affect_connections_and_the_consent_page_too(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.STATUS, path="^/connections", status=502))
    client.mock.add_fault(MockFault(FaultKind.STATUS, path="authorize", status=504))
    assert client.get("/connections").status_code == 502
    assert client.session.get("https://login.xero.com/identity/connect/authorize", timeout=5).status_code == 504


def test_a_path_that_is_not_a_regular_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="regular expression"):
        MockFault(FaultKind.STATUS, path="(")

"""The admin page in a real browser, against the stub server: every state and every control."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from xero_pipeline.admin.login_throttle import TooManyGuesses
from xero_pipeline_tests.admin.canned import (
    ALERT,
    CONNECTED,
    EMPTY,
    NOW,
    RUN,
    RUN_FAILED,
    RUN_STEPS,
    RUN_STUCK,
    SCENES,
    SECOND,
    logs,
    organisation,
    restatements,
    standing,
    summary,
    week,
)
from xero_pipeline_tests.admin.chromium import collect_complaints, is_installed, list_serious_violations, run_browser
from xero_pipeline_tests.admin.stub import Stub, run_stub
from xero_pipeline_tests.conftest import skip_or_fail

TIMEOUT_MS = 10_000
WIDE: ViewportSize = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with run_stub() as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not is_installed():
        skip_or_fail("no Chromium; CHROMIUM may name one")
    with run_browser() as running:
        yield running


@pytest.fixture(scope="module")
def tab(browser: Browser, stub: Stub) -> Iterator[Page]:
    """The tab that all tests share: opening a tab and loading the page for the first time takes most of the time."""
    context = browser.new_context(base_url=stub.url, viewport=WIDE, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def complaints(tab: Page) -> list[str]:
    return collect_complaints(tab)


@pytest.fixture
def page(tab: Page, stub: Stub, complaints: list[str]) -> Iterator[Page]:
    """The shared tab, reset: connected, at a fixed time. A script error or a policy violation fails the test."""
    stub.play(CONNECTED)
    tab.set_viewport_size(WIDE)
    tab.emulate_media(color_scheme="light", reduced_motion="reduce")
    tab.mouse.move(0, 0)
    tab.clock.install(time=NOW)
    tab.clock.resume()
    yield tab
    # leave the page for an image, which runs no script: nothing calls the next test's stub or writes to storage
    tab.goto("/static/icons/mark.svg")
    tab.evaluate("() => { sessionStorage.clear(); localStorage.clear(); }")
    tab.context.clear_cookies()
    page_complaints = complaints.copy()
    complaints.clear()
    assert page_complaints == []


def fact(page: Page, name: str) -> Locator:
    """The value of the status card's fact with that name."""
    return page.locator("#facts .fact").filter(has=page.locator("dt", has_text=name)).locator("dd")


def list_calls(stub: Stub, method: str) -> list[tuple[str, Any]]:
    return [(path, body) for used, path, body in stub.calls if used == method]


# ---- every state ----------------------------------------------------------------------------------------


# Below the status card these scenes look like "connected" or "not-connected", whose whole page is checked. axe takes
# time for the rest of the page even when it checks only a part, so these scenes have no figures.
ONLY_THE_TOP = {
    "alerts", "callback-connected", "callback-error", "connected-real", "dagster-down", "one-of-two-lost",
    "reconnect-needed", "status-failing", "sync-failed", "sync-partial", "sync-running", "tokens-unreadable",
    "two-organisations",
}  # fmt: skip
TOP = ("header", "main > :not(.section)")


@pytest.mark.parametrize("scene", sorted(SCENES.keys() - {"short-log", "gap"}))
def test_no_state_has_a_serious_accessibility_violation_light_and_wide_or_dark_and_narrow(
    page: Page, stub: Stub, scene: str
) -> None:
    parts = TOP if scene in ONLY_THE_TOP else ()
    stub.play(SCENES[scene].but(**EMPTY) if parts else SCENES[scene])
    page.goto("/")
    if scene != "loading":
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
    if scene.startswith("sync-"):
        page.get_by_role("button", name="Sync now").click()
        expect(page.locator("#run-parts li").first).to_be_visible()
    for hidden in page.locator("#alerts summary, .problem summary, #charts > :last-child summary").all():
        hidden.click()
    assert list_serious_violations(page, *parts) == []
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme="dark")
    # charts resize a moment after the window; wait with a function, because the page's policy forbids `eval`
    page.wait_for_function("() => document.documentElement.scrollWidth <= 360")
    assert list_serious_violations(page, *parts) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_disconnect_dialog_has_no_serious_accessibility_violation(page: Page, stub: Stub, scheme: Any) -> None:
    stub.play(SCENES["two-organisations"].but(**EMPTY))
    page.emulate_media(color_scheme=scheme)
    page.goto("/")
    page.get_by_role("button", name="Disconnect…").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert list_serious_violations(page) == []


def test_the_page_has_its_landmarks_and_its_headings_in_order(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Profit and loss")).to_be_visible()
    for landmark in ("banner", "main", "contentinfo"):
        expect(page.get_by_role(landmark)).to_have_count(1)  # type: ignore[arg-type]
    levels = page.locator("h1:visible, h2:visible, h3:visible").evaluate_all("all => all.map(one => +one.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


# ---- the status card ------------------------------------------------------------------------------------


def test_the_connected_card_shows_the_organisation_its_last_sync_and_what_is_left(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#state")).to_have_text("Connected (Mock)")
    expect(page.locator("#organisation-name")).to_have_text("Mock Organisation")
    # 20:00 UTC is 07:00 on the next day in Sydney
    expect(fact(page, "Last sync")).to_contain_text("24/11/2026 07:00")
    expect(fact(page, "Last sync")).to_contain_text("5 hours ago")
    expect(fact(page, "Calls left today")).to_contain_text("4,688")
    expect(fact(page, "Sign-in expires in")).to_contain_text("59 days")
    expect(fact(page, "Figures up to")).to_contain_text("21/11/2026")


@pytest.mark.parametrize(
    ("scene", "state", "text"),
    [
        ("connected", "on", "Connected (Mock)"),
        ("connected-real", "on", "Connected"),
        ("not-connected", "off", "Not connected"),
        ("reconnect-needed", "warn", "Reconnect needed"),
        ("one-of-two-lost", "warn", "Reconnect needed"),
        ("tokens-unreadable", "warn", "Tokens cannot be read"),
    ],
)
def test_the_state_is_shown_as_a_word_and_a_colour(page: Page, stub: Stub, scene: str, state: str, text: str) -> None:
    stub.play(SCENES[scene])
    page.goto("/")
    expect(page.locator("#state-text")).to_have_text(text)
    expect(page.locator("#state")).to_have_attribute("data-state", state)


def test_a_lost_connection_offers_to_reconnect_and_disables_syncing(page: Page, stub: Stub) -> None:
    stub.play(SCENES["reconnect-needed"])
    page.goto("/")
    expect(page.get_by_role("link", name="Reconnect to Xero")).to_have_attribute("href", "/api/v1/xero/connect")
    expect(page.locator("#state-advice")).to_contain_text("Mock Organisation")
    expect(page.get_by_role("button", name="Sync now")).to_be_disabled()


def test_unreadable_tokens_are_reported_with_what_to_do(page: Page, stub: Stub) -> None:
    stub.play(SCENES["tokens-unreadable"])
    page.goto("/")
    expect(page.locator("#state-advice")).to_have_text(
        "The tokens of Mock Organisation cannot be read. Set XERO_ENCRYPTION_KEY back."
    )
    expect(page.get_by_role("link", name="Connect again")).to_be_visible()


def test_open_alerts_are_listed_at_the_top_and_open_to_what_to_do(page: Page, stub: Stub) -> None:
    page.goto("/")
    expect(page.locator("#organisation-name")).to_be_visible()
    expect(page.locator("#alerts")).to_be_hidden()
    stub.play(CONNECTED.but(standing=standing(organisation(), alerts=[ALERT, ALERT | {"kind": "connection"}])))
    page.reload()
    # the card itself shows the lost connection, so its alert is not listed
    alerts = page.get_by_role("list", name="Open alerts").get_by_role("listitem")
    expect(alerts).to_have_count(1)
    expect(alerts.locator("summary")).to_have_text(f"{ALERT['title']}since 23/11/2026 06:00")
    expect(alerts.locator("p")).to_be_hidden()
    alerts.locator("summary").click()
    expect(alerts.locator("p")).to_be_visible()
    expect(alerts.locator("p")).to_have_text(ALERT["text"])
    page.clock.fast_forward("03:00")
    expect(page.locator("#facts")).to_contain_text("5 hours ago")
    expect(alerts.locator("p")).to_be_visible()


def test_several_organisations_are_listed_each_with_its_own_state(page: Page, stub: Stub) -> None:
    stub.play(SCENES["one-of-two-lost"])
    page.goto("/")
    listed = page.get_by_role("list", name="Organisations").get_by_role("listitem")
    expect(listed).to_have_count(2)
    expect(listed.nth(0)).to_contain_text("Connected")
    expect(listed.nth(1)).to_contain_text("Harbourside Joinery Pty Ltd")
    expect(listed.nth(1)).to_contain_text("Reconnect needed")
    # the other one can still be synced
    expect(page.get_by_role("button", name="Sync now")).to_be_enabled()


def test_few_remaining_days_and_calls_are_marked(page: Page, stub: Stub) -> None:
    one = organisation(refreshTokenDaysLeft=2, callsToday=4700, callsLeftToday=100)
    stub.play(CONNECTED.but(standing=standing(one)))
    page.goto("/")
    expect(fact(page, "Sign-in expires in").locator(".tone-bad")).to_be_visible()
    expect(fact(page, "Calls left today").locator(".tone-warn")).to_be_visible()


def test_how_far_the_weeks_are_proven_is_shown(page: Page, stub: Stub) -> None:
    name = "Proven against Xero's totals"
    stub.play(CONNECTED)
    page.goto("/")
    expect(fact(page, name)).to_contain_text("Up to 21/11/2026")
    stub.play(CONNECTED.but(standing=standing(organisation(reconciliation=None))))
    page.goto("/")
    expect(fact(page, name)).to_contain_text("Not yet")
    differing = {"provenUpTo": None, "lastCheckedAt": NOW, "differingBlocks": 2}
    stub.play(CONNECTED.but(standing=standing(organisation(reconciliation=differing))))
    page.goto("/")
    expect(fact(page, name)).to_contain_text("2 comparisons differ")


def test_a_custom_connection_has_no_refresh_token_that_expires(page: Page, stub: Stub) -> None:
    one = organisation(refreshTokenExpiresAt=None, refreshTokenDaysLeft=None)
    stub.play(CONNECTED.but(standing=standing(one)))
    page.goto("/")
    expect(fact(page, "Sign-in")).to_contain_text("No expiry")


def test_a_connection_that_was_never_synced_shows_what_to_do(page: Page, stub: Stub) -> None:
    stub.play(SCENES["never-synced"])
    page.goto("/")
    expect(fact(page, "Last sync")).to_contain_text("Never")
    expect(page.locator("#trends")).to_contain_text("No figures yet")
    page.get_by_role("button", name="Choose a week to sync").click()
    expect(page.get_by_role("button", name="Sync now")).to_be_focused()


def test_a_status_that_cannot_be_read_shows_the_error_and_can_be_requested_again(page: Page, stub: Stub) -> None:
    stub.play(SCENES["status-failing"])
    page.goto("/")
    card = page.locator("#connection")
    expect(card.get_by_role("alert")).to_contain_text("The database does not answer")
    expect(card.get_by_role("button", name="Sync now")).to_be_hidden()
    stub.play(CONNECTED)
    card.get_by_role("button", name="Try again").click()
    expect(page.locator("#state")).to_have_text("Connected (Mock)")
    expect(card.get_by_role("button", name="Sync now")).to_be_enabled()


def test_a_failed_refresh_keeps_the_last_known_status(page: Page, stub: Stub) -> None:
    page.goto("/")
    expect(page.locator("#state")).to_have_text("Connected (Mock)")
    stub.scene = stub.scene.but(errors={"standing": (503, "Out of order.")})
    page.clock.run_for(61_000)
    expect(page.locator("#connection-failed-text")).to_have_text("Out of order.")
    expect(page.locator("#state")).to_have_text("Connected (Mock)")


# ---- connecting and disconnecting -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "query"), [("callback-connected", "?xero=connected"), ("callback-error", "?xero=error&reason=denied")]
)
def test_the_result_of_the_consent_is_shown_once_and_leaves_the_address_bar(
    page: Page, stub: Stub, scene: str, query: str
) -> None:
    stub.play(SCENES[scene])
    page.goto("/" + query)
    notice = page.locator("#notice")
    expect(notice).to_contain_text(SCENES[scene].notice["text"])  # type: ignore[index]
    expect(notice).to_be_focused()
    expect(page).to_have_url(re.compile(r"/$"))
    notice.get_by_role("button", name="Dismiss").click()
    expect(notice).to_have_count(0)


def test_disconnecting_asks_first_and_cancelling_changes_nothing(page: Page, stub: Stub) -> None:
    page.goto("/")
    opener = page.get_by_role("button", name="Disconnect…")
    opener.click()
    dialog = page.get_by_role("dialog", name="Disconnect Mock Organisation?")
    expect(dialog.get_by_role("button", name="Keep the connection")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    opener.click()
    dialog.get_by_role("button", name="Keep the connection").click()
    expect(dialog).to_be_hidden()
    assert list_calls(stub, "POST") == []


def test_disconnecting_the_only_organisation_shows_not_connected(page: Page, stub: Stub) -> None:
    page.goto("/")
    page.get_by_role("button", name="Disconnect…").click()
    page.get_by_role("dialog").get_by_role("button", name="Disconnect", exact=True).click()
    expect(page.locator("#state")).to_have_text("Not connected")
    expect(page.get_by_role("link", name="Connect to Xero")).to_be_focused()
    expect(page.get_by_role("button", name="Disconnect…")).to_be_hidden()
    assert list_calls(stub, "POST") == [("/disconnect", {})]


@pytest.mark.parametrize(
    ("choice", "body", "left"),
    [("Harbourside Joinery Pty Ltd", {"tenantId": SECOND}, "Connected (Mock)"), ("Both", {}, "Not connected")],
)
def test_of_several_organisations_one_or_all_can_be_disconnected(
    page: Page, stub: Stub, choice: str, body: Any, left: str
) -> None:
    stub.play(SCENES["two-organisations"])
    page.goto("/")
    page.get_by_role("button", name="Disconnect…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(choice).check()
    dialog.get_by_role("button", name="Disconnect", exact=True).click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#state")).to_have_text(left)
    assert list_calls(stub, "POST") == [("/disconnect", body)]


def test_a_disconnect_that_fails_says_so_in_the_dialog(page: Page, stub: Stub) -> None:
    stub.play(CONNECTED.but(errors={"disconnect": (503, "Xero does not answer.")}))
    page.goto("/")
    page.get_by_role("button", name="Disconnect…").click()
    page.get_by_role("dialog").get_by_role("button", name="Disconnect", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("Xero does not answer.")
    expect(page.get_by_role("dialog")).to_be_visible()


# ---- syncing --------------------------------------------------------------------------------------------


def test_a_sync_shows_its_progress_and_ends_with_its_result_and_its_run(page: Page, stub: Stub) -> None:
    stub.play(CONNECTED.but(run=RUN_STUCK))
    page.goto("/")
    page.get_by_role("button", name="Sync now").click()
    expect(page.get_by_role("button", name="Syncing…")).to_be_disabled()
    expect(page.locator("#run-title")).to_contain_text("1 of 3 read")
    expect(page.locator("#sync-button .spinner")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_js_property("value", 1)
    assert list_calls(stub, "POST") == [("/sync?wait=false&weekEnding=2026-11-21", {})]
    stub.scene = stub.scene.but(run=RUN_STEPS[-1:])
    expect(page.locator("#run-title")).to_have_text("Week ending 21/11/2026 is in")
    expect(page.locator("#announcer")).to_contain_text("is in")
    expect(page.locator("#run")).to_contain_text("29 rows, 7 calls to Xero")
    expect(page.get_by_role("link", name="Open the run in Dagster")).to_have_attribute(
        "href", f"http://localhost:3001/dagster/runs/{RUN}"
    )
    expect(page.get_by_role("button", name="Sync now")).to_be_focused()


def test_after_a_sync_everything_below_is_read_again(page: Page, stub: Stub) -> None:
    stub.play(SCENES["never-synced"])
    page.goto("/")
    expect(page.locator("#trends")).to_contain_text("No figures yet")
    stub.scene = CONNECTED.but(run=RUN_STEPS[-1:])
    page.get_by_role("button", name="Sync now").click()
    expect(page.locator("#trends canvas")).to_have_count(3)
    expect(page.locator("#log tbody tr").first).to_be_visible()
    expect(page.get_by_role("heading", name="Profit and loss")).to_be_visible()
    expect(fact(page, "Last sync")).to_contain_text("24/11/2026")


def test_an_older_week_can_be_chosen_and_is_then_shown(page: Page, stub: Stub) -> None:
    stub.play(CONNECTED.but(run=RUN_STEPS[-1:]))
    page.goto("/")
    page.locator("#sync-week").select_option("2026-10-03")
    page.get_by_role("button", name="Sync now").click()
    expect(page.locator("#run-title")).to_have_text("Week ending 03/10/2026 is in")
    expect(page.locator("#week-select")).to_have_value("2026-10-03")
    assert list_calls(stub, "POST") == [("/sync?wait=false&weekEnding=2026-10-03", {})]


@pytest.mark.parametrize(
    ("scene", "tone", "title", "problem"),
    [
        ("sync-failed", "bad", "1 of 3 failed", "Xero's limit of 5,000 calls a day is spent"),
        ("sync-partial", "warn", "does not add up", "2 figures do not add up"),
    ],
)
def test_a_failed_or_partial_sync_shows_what_went_wrong_and_why(
    page: Page, stub: Stub, scene: str, tone: str, title: str, problem: str
) -> None:
    stub.play(SCENES[scene])
    page.goto("/")
    page.get_by_role("button", name="Sync now").click()
    run = page.locator("#run")
    expect(run).to_have_attribute("data-tone", tone)
    expect(run).to_contain_text(title)
    expect(run).to_contain_text(problem)
    expect(page.get_by_role("button", name="Sync now")).to_be_enabled()


def test_a_sync_that_cannot_start_shows_why(page: Page, stub: Stub) -> None:
    stub.play(CONNECTED.but(errors={"sync": (502, "Dagster refused: no such job.")}))
    page.goto("/")
    page.get_by_role("button", name="Sync now").click()
    expect(page.locator("#run")).to_contain_text("Dagster refused: no such job.")
    expect(page.get_by_role("button", name="Sync now")).to_be_enabled()


def test_a_cancelled_run_is_shown_as_cancelled(page: Page, stub: Stub) -> None:
    stub.play(CONNECTED.but(run=({**RUN_FAILED[0], "status": "canceled"},)))
    page.goto("/")
    page.get_by_role("button", name="Sync now").click()
    expect(page.locator("#run-title")).to_contain_text("cancelled")


def test_failed_polls_of_a_run_are_repeated(page: Page, stub: Stub) -> None:
    stub.play(CONNECTED.but(run=RUN_STUCK, errors={"runs": (503, "Dagster does not answer.")}))
    page.goto("/")
    page.get_by_role("button", name="Sync now").click()
    page.clock.run_for(8_000)
    expect(page.locator("#run-message")).to_contain_text("asking again")
    stub.scene = stub.scene.but(run=RUN_STEPS[-1:], errors={})
    page.clock.run_for(8_000)
    expect(page.locator("#run-title")).to_have_text("Week ending 21/11/2026 is in")


def test_a_run_is_still_polled_after_the_page_is_reloaded(page: Page, stub: Stub) -> None:
    stub.play(CONNECTED.but(run=RUN_STUCK))
    page.goto("/")
    page.get_by_role("button", name="Sync now").click()
    expect(page.locator("#run-title")).to_contain_text("1 of 3 read")
    page.reload()
    expect(page.locator("#run-title")).to_contain_text("1 of 3 read")
    stub.scene = stub.scene.but(run=RUN_STEPS[-1:])
    page.clock.run_for(8_000)
    expect(page.locator("#run-title")).to_have_text("Week ending 21/11/2026 is in")
    page.reload()
    expect(page.locator("#state")).to_be_visible()
    expect(page.locator("#run")).to_be_hidden()


# ---- the scheduler --------------------------------------------------------------------------------------


def test_the_scheduler_is_switched_off_and_on_by_keyboard(page: Page, stub: Stub) -> None:
    page.goto("/")
    switch = page.get_by_role("switch", name="Scheduler")
    expect(switch).to_be_checked()
    switch.focus()
    page.keyboard.press("Space")
    expect(switch).not_to_be_checked()
    expect(page.locator("#announcer")).to_have_text("The scheduler is off.")
    expect(switch).to_be_focused()
    page.keyboard.press("Enter")
    expect(switch).to_be_checked()
    assert [path for path, _ in list_calls(stub, "POST")] == ["/scheduler/stop", "/scheduler/start"]


def test_without_dagster_the_switch_and_the_sync_are_disabled_and_show_why(page: Page, stub: Stub) -> None:
    stub.play(SCENES["dagster-down"])
    page.goto("/")
    expect(page.get_by_role("switch")).to_be_disabled()
    expect(page.locator("#scheduler-state")).to_contain_text("Dagster does not answer")
    expect(page.get_by_role("button", name="Sync now")).to_be_disabled()
    expect(page.locator("#sync-disabled")).to_contain_text("Dagster does not answer")
    # the stored figures are shown even so
    expect(page.locator("#trends canvas")).to_have_count(3)


def test_a_switch_that_fails_returns_to_its_state_and_shows_why(page: Page, stub: Stub) -> None:
    stub.play(CONNECTED.but(errors={"scheduler": (503, "Dagster went away.")}))
    page.goto("/")
    page.get_by_role("switch").click()
    expect(page.locator("#scheduler-error")).to_have_text("Dagster went away.")
    expect(page.get_by_role("switch")).to_be_checked()


# ---- figures --------------------------------------------------------------------------------------------


def test_each_chart_has_a_description_and_a_table_of_its_figures(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#trends canvas")).to_have_count(3)
    for canvas in page.locator("#trends canvas").all():
        expect(canvas).to_have_attribute("aria-label", re.compile("Chart: .*week ending"))
    page.get_by_text("Show as table").first.click()
    table = page.get_by_role("table", name="Income and net profit in AUD, newest week first")
    expect(table.get_by_role("row")).to_have_count(27)
    latest = summary()["weeks"][-1]
    shown = table.get_by_role("row", name="21/11/2026")
    expect(shown).to_contain_text(f"{latest['totalTradingIncome'][:3]},{latest['totalTradingIncome'][3:]}")


def test_a_missing_week_is_a_gap_and_not_zero(page: Page, stub: Stub) -> None:
    stub.play(SCENES["gap"])
    page.goto("/")
    page.get_by_text("Show as table").first.click()
    table = page.get_by_role("table", name="Income and net profit in AUD, newest week first")
    expect(table.get_by_role("row", name="26/09/2026")).to_have_text("26/09/2026––")
    expect(table.get_by_role("row")).to_have_count(27)


def test_amounts_are_shown_to_the_cent_whatever_their_size(page: Page, stub: Stub) -> None:
    def build_huge_week(ending: str) -> Any:
        answer = week(ending)
        answer["organisations"][0]["profitAndLoss"]["netProfit"] = "-90071992547409931.07"
        answer["organisations"][0]["cash"] = [
            {
                "bankAccountId": str(number),
                "bankAccountName": f"Account {number}",
                "openingBalance": "0.10",
                "cashReceived": "0.00",
                "cashSpent": "0.00",
                "currencyGain": "0.00",
                "closingBalance": amount,
            }
            for number, amount in enumerate(("90071992547409931.01", "0.20"))
        ]
        return answer

    stub.play(CONNECTED.but(weeks=build_huge_week))
    page.goto("/")
    expect(page.locator("#week").get_by_role("row", name="Net profit").locator("td")).to_have_text(
        "−90,071,992,547,409,931.07"
    )
    total = page.get_by_role("table", name="Bank accounts in AUD").get_by_role("row", name="Total")
    expect(total.locator("td").last).to_have_text("90,071,992,547,409,931.21")
    expect(total.locator("td").first).to_have_text("0.20")


def test_a_week_is_chosen_from_the_list_or_step_by_step(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#week-lede")).to_contain_text("Sunday 15/11/2026 to Saturday 21/11/2026")
    expect(page.get_by_role("button", name="Week after")).to_be_disabled()
    page.get_by_role("button", name="Week before").click()
    expect(page.locator("#week-lede")).to_contain_text("Saturday 14/11/2026")
    page.locator("#week-select").select_option("2025-01-04")
    expect(page.locator("#week-lede")).to_contain_text("Saturday 04/01/2025")
    expect(page.get_by_role("button", name="Week before")).to_be_disabled()


def test_the_page_switches_between_weeks_and_months_which_stand_beside_others(page: Page, stub: Stub) -> None:
    page.goto("/")
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.get_by_role("button", name="Months").press("Enter")
    expect(page.locator("#month-lede")).to_contain_text("01/10/2026 to 31/10/2026")
    expect(page.locator("#week")).to_be_hidden()
    table = page.get_by_role("table", name="Compared in AUD")
    columns = ["Figure", "October 2026", "September 2026", "October 2025", "Year to date (2027)"]
    expect(table.get_by_role("columnheader")).to_have_text([*columns, "Year to date, last year"])
    profits = table.get_by_role("row", name="Net profit").get_by_role("cell")
    expect(profits.nth(1)).to_have_text("1,234,567.89")
    expect(profits.nth(3)).to_have_text("7,654,321.01")
    # What is not known is a dash, and never zero.
    expect(profits.nth(4)).to_have_text("–")
    expect(page.get_by_role("table", name="Bank accounts of the month")).to_be_visible()
    expect(page.get_by_role("button", name="Month after")).to_be_disabled()
    page.get_by_role("button", name="Month before").click()
    expect(page.locator("#month-lede")).to_contain_text("01/09/2026 to 30/09/2026")
    page.locator("#month-select").select_option("2025-02-28")
    expect(page.get_by_role("button", name="Month before")).to_be_disabled()
    assert [path for _, path, _ in stub.calls if path.startswith("/months")] == [
        "/months/2026-10-31",
        "/months/2026-09-30",
        "/months/2025-02-28",
    ]
    assert list_serious_violations(page) == []
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => document.documentElement.scrollWidth <= 360")
    assert list_serious_violations(page) == []
    stub.play(CONNECTED.but(months=lambda ending: {"monthEnding": ending, "organisations": []}))
    page.locator("#month-select").select_option("2026-10-31")
    expect(page.locator("#month-state")).to_contain_text("This month has not been read")
    page.get_by_role("button", name="Weeks").click()
    expect(page.locator("#week")).to_be_visible()
    expect(page.locator("#month")).to_be_hidden()


def test_each_figure_of_revenue_can_be_chosen(page: Page) -> None:
    page.goto("/")
    page.get_by_label("Which figure of revenue").select_option("invoiceCount")
    table = page.get_by_role("table", name="Invoices by revenue type and region")
    expect(table).to_be_visible()
    # an invoice can be counted in several cells, so counts have no total
    expect(table.get_by_role("columnheader", name="Total")).to_have_count(0)


def test_accounts_are_sorted_by_their_codes(page: Page, stub: Stub) -> None:
    def build_shuffled_week(ending: str) -> Any:
        answer = week(ending)
        lines = answer["organisations"][0]["lines"]
        lines.reverse()
        next(line for line in lines if line["accountCode"] == "469")["accountCode"] = None
        return answer

    stub.play(CONNECTED.but(weeks=build_shuffled_week))
    page.goto("/")
    codes = page.locator("#week .account").locator(".code")
    expect(codes).to_have_text(
        ["200", "210", "220", "310", "320", "270", "400", "404", "429", "477", "493", "497"]  # by category, then code
    )
    expect(page.locator("#week .account").last).to_have_text("Rent")


def test_restated_figures_are_marked_in_the_tables_of_the_week(page: Page) -> None:
    page.goto("/")
    page.locator("#week-select").select_option("2026-11-07")
    sales = page.locator("#week").get_by_role("row", name="Commercial Sales")
    expect(sales).to_contain_text(re.compile(r"restated was [\d,]+\.\d\d, 20/11/2026 06:00"))
    expect(page.locator("#week").get_by_role("row", name="Gross profit")).to_contain_text("restated")
    expect(page.get_by_role("table", name="Net revenue")).to_contain_text("North restated")
    expect(page.locator("#week").get_by_role("row", name="Materials")).not_to_contain_text("restated")
    expect(page.locator("#restatements tbody tr")).to_have_count(len(restatements()))


def test_of_two_organisations_the_week_shows_the_chosen_one(page: Page, stub: Stub) -> None:
    stub.play(SCENES["two-organisations"])
    page.goto("/")
    page.locator("#organisation").select_option(label="Harbourside Joinery Pty Ltd")
    page.get_by_role("button", name="Week before").click()
    expect(page.locator("#week-lede")).to_contain_text("14/11/2026")
    expect(page.locator("#organisation")).to_have_value(SECOND)


def test_several_organisations_stand_side_by_side_summed_where_the_currency_is_one(page: Page, stub: Stub) -> None:
    stub.play(SCENES["two-organisations"])
    page.goto("/")
    page.locator("#organisation").select_option("*")
    table = page.get_by_role("table", name="All organisations in AUD")
    expect(table.get_by_role("columnheader").last).to_have_text("Together")
    amounts = [
        cents(text) for text in table.get_by_role("row", name="Net profit").get_by_role("cell").all_inner_texts()
    ]
    assert sum(amounts[:2]) == amounts[2]
    assert list_serious_violations(page, "#week") == []


def cents(text: str) -> int:
    return int(text.replace(",", "").replace(".", "").replace("−", "-"))


def test_a_table_is_copied_as_plain_numbers_for_a_spreadsheet(page: Page, stub: Stub) -> None:
    def build_odd_week(ending: str) -> Any:
        answer = week(ending)
        line = answer["organisations"][0]["lines"][0]
        line |= {"accountName": "=cmd|A1", "accountCode": None, "amount": "-1234567.80"}
        return answer

    stub.play(CONNECTED.but(weeks=build_odd_week))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/")
    button = page.get_by_role("button", name="Copy Profit and loss for a spreadsheet")
    button.press("Enter")
    expect(button).to_have_text("Copied")
    lines = page.evaluate("() => navigator.clipboard.readText()").splitlines()
    assert lines[0] == "Account\tAUD"
    assert "'=cmd|A1\t-1234567.80" in lines
    assert not [line for line in lines if "restated" in line or "," in line.split("\t")[-1]]
    page.context.clear_permissions()


def test_a_download_asks_for_what_was_chosen_and_for_csv_only_of_one_table(page: Page) -> None:
    page.goto("/")
    csv = page.locator("#download-format option[value=csv]")
    expect(csv).to_be_disabled()
    page.get_by_label("Table", exact=True).select_option("revenue_weekly")
    page.get_by_label("As", exact=True).select_option("csv")
    page.get_by_label("Periods that end from").fill("2026-11-07")
    with page.expect_request("**/export*") as sent:
        page.get_by_role("button", name="Download").click()
    assert sent.value.url.endswith("/api/v1/xero/export?table=revenue_weekly&format=csv&from=2026-11-07")


def test_on_paper_the_figures_stand_alone_and_the_typeface_comes_with_the_page(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Profit and loss")).to_be_visible()
    assert page.evaluate("async () => (await document.fonts.load('16px Inter')).length") >= 1
    page.emulate_media(media="print", color_scheme="dark")
    for hidden in ("#connection", "#log", "#download", ".pickers", "header"):
        expect(page.locator(hidden).first).to_be_hidden()
    expect(page.get_by_role("table", name="Profit and loss")).to_be_visible()
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="screen")


def test_amounts_of_different_currencies_are_not_added_up_but_chosen(page: Page, stub: Stub) -> None:
    stub.play(CONNECTED.but(summary=summary() | {"currencies": ["AUD", "NZD"]}))
    page.goto("/")
    page.get_by_label("Currency").select_option("NZD")
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    assert "/summary?weeks=26&currency=NZD" in [path for path, _ in list_calls(stub, "GET")]


@pytest.mark.parametrize("name", ["trends", "week", "log", "restatements"])
def test_a_section_that_fails_shows_why_and_can_be_loaded_again(page: Page, stub: Stub, name: str) -> None:
    stub.play(SCENES["failing"])
    page.goto("/")
    section = page.locator(f"#{name}")
    expect(section).to_contain_text("The database does not answer")
    stub.scene = CONNECTED
    section.get_by_role("button", name="Try again").click()
    expect(page.locator(f"#{name}-body")).to_be_visible()
    expect(section).not_to_contain_text("The database does not answer")


def test_a_section_that_loads_shows_placeholders(page: Page, stub: Stub) -> None:
    stub.play(SCENES["loading"])
    page.goto("/")
    expect(page.locator("#state")).to_be_visible()
    for name in ("trends", "week", "log", "restatements"):
        expect(page.locator(f"#{name}")).to_have_attribute("aria-busy", "true")
        expect(page.locator(f"#{name} .skeleton").first).to_be_visible()


# ---- the log --------------------------------------------------------------------------------------------


def test_an_error_in_the_log_can_be_opened_and_shows_what_to_do(page: Page) -> None:
    page.goto("/")
    failed = page.locator(".problem-bad")
    failed.locator("summary").click()
    expect(failed).to_contain_text("Xero's limit of 5,000 calls a day is spent for this organisation.")
    expect(failed).to_contain_text("What to do: Nothing is lost")
    expect(failed).to_contain_text("25/11/2026 00:00")
    partial = page.locator(".problem-warn")
    partial.locator("summary").click()
    expect(partial.get_by_role("row").nth(1)).to_contain_text("131,204.18")


def test_a_difference_in_the_log_can_be_accepted_with_a_note(page: Page, stub: Stub) -> None:
    page.goto("/")
    partial = page.locator(".problem-warn")
    partial.locator("summary").click()
    partial.get_by_label("Note").fill("Xero rounds the tax")
    partial.get_by_role("button", name="Accept").click()
    expect(partial.locator("summary")).to_contain_text("Accepted by admin page (Xero rounds the tax).")
    expect(partial.get_by_role("button", name="Accept")).to_have_count(0)
    accepted = [call for call in stub.calls if call[1].endswith("/accept")]
    assert accepted == [("POST", f"/sync-logs/{logs()[3]['id']}/accept", {"note": "Xero rounds the tax"})]
    expect(page.locator(".problem-bad").get_by_role("button", name="Accept")).to_have_count(0)


def test_a_note_on_a_successful_sync_is_shown_without_opening_it(page: Page, stub: Stub) -> None:
    rows = logs(3, troubled=False)
    rows[0]["errorLog"] = {"notes": ["Placed under operating expenses by where they stand."]}
    stub.play(CONNECTED.but(logs=rows))
    page.goto("/")
    expect(page.locator("#log")).to_contain_text("Placed under operating expenses by where they stand.")
    expect(page.locator("#log details")).to_have_count(0)


def test_the_log_links_each_run_in_dagster(page: Page) -> None:
    page.goto("/")
    link = page.get_by_role("link", name="Run of Profit and loss, week ending 21/11/2026, in Dagster")
    expect(link).to_have_attribute("href", f"http://localhost:3001/dagster/runs/{RUN}")


def test_show_more_reads_more_of_the_log(page: Page, stub: Stub) -> None:
    page.goto("/")
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    assert [path for path, _ in list_calls(stub, "GET") if path.startswith("/sync-logs")] == [
        "/sync-logs?limit=20",
        "/sync-logs?limit=60",
    ]


# ---- trust ----------------------------------------------------------------------------------------------


def test_text_from_the_api_is_never_read_as_markup(page: Page, stub: Stub) -> None:
    evil = "<img src=x onerror=\"document.title='broken'\"><b>Evil</b>"
    rows = logs(3)
    rows[0] |= {"status": "failed", "errorLog": {"message": evil, "advice": evil, "differences": [{evil: evil}]}}
    rows[1] |= {"runUrl": "javascript:document.title='broken'"}
    changed = [one | {"name": evil, "new": evil, "runUrl": "data:text/html,x"} for one in restatements()[:1]]
    stub.play(
        CONNECTED.but(
            standing=standing(organisation(tenantName=evil)),
            weeks=lambda ending: week(ending, name=evil),
            logs=rows,
            restatements=changed,
        )
    )
    page.goto("/")
    expect(page.locator("#organisation-name")).to_have_text(evil)
    page.locator(".problem summary").click()
    page.get_by_role("button", name="Disconnect…").click()
    expect(page.get_by_role("dialog")).to_contain_text(evil)
    assert page.locator("main img, main b, dialog b").count() == 0
    hrefs = page.locator("a[href]").evaluate_all("all => all.map(one => one.href)")
    assert not [href for href in hrefs if not href.startswith("http")]
    assert page.title() == "Xero Pipeline"


def test_an_expired_session_leads_to_the_sign_in_page(page: Page, stub: Stub) -> None:
    page.goto("/")
    expect(page.locator("#state")).to_be_visible()
    stub.scene = stub.scene.but(errors={"weeks": (401, "Sign in first.")})
    page.get_by_role("button", name="Week before").click()
    page.wait_for_url("**/login")


def test_signing_out_is_offered_only_after_a_sign_in(page: Page, stub: Stub) -> None:
    page.goto("/")
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
    stub.play(SCENES["connected-real"])
    page.goto("/")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.locator("#mock-badge")).to_have_count(0)


def test_the_page_requests_nothing_from_other_servers(browser: Browser, stub: Stub) -> None:
    stub.play(CONNECTED)
    # a context of its own, so that nothing is cached from an earlier visit
    with browser.new_context(base_url=stub.url) as context:
        page = context.new_page()
        complaints, requested = collect_complaints(page), list[str]()
        page.on("request", lambda request: requested.append(request.url))
        page.goto("/")
        expect(page.locator("#trends canvas")).to_have_count(3)
    assert [url for url in requested if not url.startswith(stub.url)] == []
    assert complaints == []


# ---- the sign-in page -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_sign_in_page_has_no_serious_accessibility_violation(page: Page, stub: Stub, scheme: Any) -> None:
    stub.login_error = "This token is wrong."
    page.emulate_media(color_scheme=scheme, reduced_motion="no-preference")
    page.set_viewport_size({"width": 360, "height": 700})
    page.goto("/login")
    expect(page.get_by_label("Access token")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("This token is wrong.")
    assert list_serious_violations(page) == []


def test_after_too_many_wrong_tokens_the_right_one_can_be_sent_at_once(page: Page, stub: Stub) -> None:
    stub.login_error = str(TooManyGuesses(30))
    page.goto("/login")
    expect(page.get_by_role("alert")).to_contain_text("The right token is accepted at any time.")
    expect(page.get_by_role("button", name="Sign in")).to_be_enabled()


# ---- roles, access and the audit log ----------------------------------------------------------------------


def test_a_viewer_is_shown_as_one_and_can_change_nothing(page: Page, stub: Stub) -> None:
    stub.play(SCENES["viewer"])
    page.goto("/")
    expect(page.locator("#visitor")).to_contain_text("Tom Smith")
    expect(page.locator("#state")).to_have_text("Connected (Mock)")
    for name in ("Connect another organisation", "Connect to Xero", "Dagster"):
        expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    expect(page.get_by_role("button", name="Disconnect…")).to_be_hidden()
    expect(page.get_by_role("button", name="Sync now")).to_be_disabled()
    expect(page.get_by_role("switch")).to_be_disabled()
    expect(page.locator("#sync-disabled")).to_contain_text("Your role")
    expect(page.locator("#access")).to_have_count(0)
    expect(page.locator("#audit tbody tr").first).to_be_visible()
    stub.play(SCENES["viewer"].but(standing=standing(scheduler=False), **EMPTY))
    page.reload()
    expect(page.locator("#state-advice")).to_contain_text("Only an owner")


def test_the_audit_log_names_who_what_and_how_often(page: Page, stub: Stub) -> None:
    page.goto("/")
    rows = page.locator("#audit tbody tr")
    expect(rows.nth(0)).to_contain_text("unknown")
    expect(rows.nth(0)).to_contain_text("Wrong token")
    expect(rows.nth(0)).to_contain_text("37 times until 24/11/2026 11:41")
    expect(rows.nth(3)).to_contain_text("bob operator")
    expect(rows.nth(3)).to_contain_text("Start scheduler")
    # a page without a sign-in has no access to manage
    expect(page.locator("#access")).to_have_count(0)


def test_an_owner_ends_a_session_and_ends_all(page: Page, stub: Stub) -> None:
    stub.play(SCENES["connected-real"].but(**EMPTY))
    page.goto("/")
    expect(page.locator("#sessions-list tbody tr")).to_have_count(2)
    page.get_by_role("button", name="End the session of bob from 203.0.113.7").click()
    expect(page.locator("#sessions-list tbody tr")).to_have_count(1)
    expect(page.locator("#sessions-list")).to_contain_text("this session")
    page.get_by_role("button", name="End all").click()
    expect(page).to_have_url(re.compile("/login$"))
    assert list_calls(stub, "POST") == [("/sessions/end", {"id": 1}), ("/sessions/end", {})]


def test_an_owner_gives_access_sees_the_token_once_and_takes_it_again(page: Page, stub: Stub) -> None:
    stub.play(SCENES["connected-real"].but(**EMPTY))
    page.goto("/")
    form = page.locator("#person-form")
    form.get_by_label("Name").fill("Ned <b>")
    form.get_by_label("Role").select_option("operator")
    form.get_by_role("button", name="Add").click()
    expect(page.locator("#new-token")).to_be_focused()
    expect(page.locator("#new-token-value")).to_have_text("xeropipe_shown-only-once")
    expect(page.locator("#persons-list")).to_contain_text("Ned <b>")
    assert list_serious_violations(page, "#access") == []
    page.get_by_role("button", name="I have kept it").click()
    expect(page.locator("#new-token-value")).to_have_text("")
    page.get_by_role("button", name="Remove Ned <b>").click()
    expect(page.locator("#persons-list")).not_to_contain_text("Ned")
    assert list_calls(stub, "POST") == [
        ("/access/add", {"name": "Ned <b>", "role": "operator"}),
        ("/access/remove", {"name": "Ned <b>"}),
    ]


def test_a_refused_change_of_access_says_why(page: Page, stub: Stub) -> None:
    stub.play(SCENES["connected-real"].but(**EMPTY))
    page.goto("/")
    expect(page.locator("#persons-list tbody tr")).to_have_count(3)
    stub.scene = stub.scene.but(errors={"access": (422, "bob has access already.")})
    page.locator("#person-name").fill("bob")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#access-error")).to_have_text("bob has access already.")


def test_what_the_page_asks_by_itself_is_marked_as_such(page: Page, stub: Stub) -> None:
    marked: list[bool] = []
    page.on(
        "request",
        lambda request: marked.append("x-background" in request.headers) if "/standing" in request.url else None,
    )
    page.goto("/")
    expect(page.locator("#state")).to_have_text("Connected (Mock)")
    page.clock.run_for(61_000)
    expect(page.locator("#connection")).to_have_attribute("aria-busy", "false")
    assert marked == [True]


# ---- what a figure is made of ---------------------------------------------------------------------------


def find_cell(page: Page, row: str, column: int) -> Locator:
    """The button of a figure of revenue, by its row and the place of its column."""
    matrix = page.get_by_role("table", name="Net revenue by revenue type and region")
    return matrix.get_by_role("row", name=row).get_by_role("button").nth(column)


def test_a_figure_opens_its_documents_with_links_into_xero_by_mouse_and_by_keyboard(page: Page, stub: Stub) -> None:
    page.goto("/")
    dialog = page.get_by_role("dialog")
    cell = find_cell(page, "Commercial", 1)
    cell.click()
    expect(dialog.get_by_role("heading", level=2)).to_have_text("Commercial · North")
    link = dialog.get_by_role("link", name="INV-1041, open in Xero")
    expect(link).to_have_attribute("href", "https://go.xero.com/app/!23vYl/invoicing/view/document-1")
    expect(dialog).to_contain_text("Blue Gum Cafés")
    assert (
        "GET",
        "/weeks/2026-11-21/explain?tenantId=mock-tenant-001&type=commercial&region=north",
        None,
    ) in stub.calls
    assert list_serious_violations(page, "#explain") == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(cell).to_be_focused()

    # By keyboard: enter opens it, and the first link is a few tabs away.
    page.keyboard.press("Enter")
    expect(link).to_be_visible()
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.tagName") == "A":
            break
    assert page.evaluate("() => document.activeElement.href").startswith("https://go.xero.com/")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_the_documents_fit_on_a_phone_in_the_dark(page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 740})
    page.emulate_media(color_scheme="dark")
    page.goto("/")
    find_cell(page, "Commercial", 1).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("link", name="INV-1041, open in Xero")).to_be_visible()
    assert dialog.evaluate("(element) => element.scrollWidth <= element.clientWidth")
    assert page.evaluate("() => document.documentElement.scrollWidth <= 375")
    assert list_serious_violations(page, "#explain") == []


def test_a_restated_figure_shows_which_document_changed_it_from_what_to_what(page: Page) -> None:
    page.goto("/")
    page.locator("#restatements").get_by_role("button", name="Commercial · North").first.click()
    history = page.get_by_role("dialog").locator(".explain-history")
    expect(history).to_contain_text("Net revenue: 19,315.49 → ")
    expect(history.locator(".explain-changes li").first).to_contain_text(re.compile(r"INV-1040 .*: [\d,.]+ → [\d,.]+$"))
    expect(history).to_contain_text("moved here from the week ending 14/11/2026")
    assert list_serious_violations(page, "#explain") == []


def test_a_total_leads_to_its_accounts_and_back_and_a_bank_account_opens_with_the_week_before(
    page: Page, stub: Stub
) -> None:
    page.goto("/")
    ledger = page.get_by_role("table", name=re.compile("^Profit and loss"))
    ledger.get_by_role("row", name="Total trading income").get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("row", name="200 Residential Sales").get_by_role("button").click()
    expect(dialog).to_contain_text("46.9 % of its total")
    expect(dialog.get_by_role("table", name="The same figure in other weeks").get_by_role("row")).to_have_count(6)
    dialog.get_by_role("button", name="Back to the figure before").click()
    expect(dialog.get_by_role("heading", level=2)).to_have_text("Total trading income")
    dialog.get_by_role("button", name="Close").click()

    accounts = page.get_by_role("table", name=re.compile("^Bank accounts"))
    accounts.get_by_role("row", name="Tax Savings").get_by_role("button").last.click()
    expect(dialog).to_contain_text("the closing balance of the week ending 2026-11-14")
    dialog.get_by_role("button", name="Close").click()

    stub.scene = stub.scene.but(errors={"explain": (503, "The database is away.")})
    accounts.get_by_role("row", name="Tax Savings").get_by_role("button").last.click()
    expect(dialog.get_by_role("alert")).to_contain_text("The database is away.")
    stub.scene = stub.scene.but(errors={})
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog).to_contain_text("Opening balance")

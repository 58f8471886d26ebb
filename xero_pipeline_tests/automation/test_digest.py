"""The weekly letter: what it says, to the cent, and that each address gets it once, whoever sends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr
from sqlalchemy.event import listen

from xero_pipeline.automation import digest
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.digest import DigestSender, build_digest, build_weekly_digest_sensor, find_due_times
from xero_pipeline.automation.digest_text import Digest, OrganisationFigures
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings
from xero_pipeline.status import read_deployment_status
from xero_pipeline.warehouse.figures.queries import WeekSummary
from xero_pipeline.weeks import Week
from xero_pipeline_tests.automation.scene import DEMO, OTHER, WEEK, Inbox, Scene
from xero_pipeline_tests.warehouse.figures.figures_given import (
    account,
    cash,
    cell,
    land_cash,
    land_profit,
    land_revenue,
    line,
    profit,
    revenue,
)

# A Monday at 7 in Sydney.
DUE = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)


class Post:
    """The sensor of a deployment whose letters go to an inbox of their own, with the cursor that Dagster keeps."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.inbox = Inbox()
        self.cursor: str | None = None
        urls = (SecretStr(self.inbox.address), SecretStr(self.inbox.address + "/second"))
        self.settings = scene.settings.model_copy(update={"digest_urls": urls})

    @contextmanager
    def opener(self, _settings: Settings) -> Iterator[Deployment]:
        self.scene.deployment.settings = self.settings
        yield self.scene.deployment

    def tick(self) -> str:
        sensor = build_weekly_digest_sensor(self.settings, opener=self.opener)
        context = dg.build_sensor_context(instance=self.scene.instance, cursor=self.cursor)
        result: Any = sensor(context)
        self.cursor = context.cursor
        return str(result.skip_message)


@contextmanager
def open_post(scene: Scene) -> Iterator[Post]:
    post = Post(scene)
    scene.connect(DEMO, OTHER)
    scene.clock.moment = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
    with post.inbox.server:
        assert "was due" in post.tick()
        yield post


@pytest.fixture
def post(sqlite_scene: Scene) -> Iterator[Post]:
    with open_post(sqlite_scene) as post:
        yield post


def land_weeks(scene: Scene) -> None:
    """Three weeks of each organisation: the latest, the one before, and that of a year ago."""
    warehouse = scene.deployment.warehouse
    for number, tenant in enumerate((DEMO.tenant_id, OTHER.tenant_id)):
        for weeks, income in ((0, "1200.10"), (1, "1000.00"), (52, "-3.00")):
            week = WEEK.shift(-weeks)
            amount = str(Decimal(income) + number)
            land_profit(warehouse, profit(amount, line("a", amount)), week=week, tenant_id=tenant)
            land_revenue(warehouse, revenue(cell("retail", "north", "900.00")), week=week, tenant_id=tenant)
            land_cash(warehouse, cash(account("b", "50000.05")), week=week, tenant_id=tenant)


@pytest.fixture
def post_on_both(scene: Scene) -> Iterator[Post]:
    with open_post(scene) as post:
        yield post


def test_the_figures_of_a_letter_are_read_at_once(sqlite_scene: Scene) -> None:
    sqlite_scene.connect(DEMO, OTHER)
    land_weeks(sqlite_scene)
    statements: list[str] = []
    listen(sqlite_scene.deployment.warehouse.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    build_digest(sqlite_scene.deployment, WEEK, datetime(2026, 11, 1, tzinfo=UTC))
    assert len([text for text in statements if "weekly_summary.net_profit" in text]) == 1


def test_each_address_gets_the_letter_once_when_it_is_due(scene: Scene, post_on_both: Post) -> None:
    post = post_on_both
    land_weeks(scene)
    post.tick()
    assert post.inbox.messages == []
    scene.clock.moment = DUE
    for _ in range(3):
        post.tick()
    messages = post.inbox.take_messages()
    assert len(messages) == 2
    assert {message.title for message in messages} == {"The week ending 21 November 2026: 2 organisations"}
    body = messages[0].body
    assert (
        "Demo Company, in AUD\nIncome: 1,200.10; week before 1,000.00 (+200.10, +20.0 %); last year -3.00 (+1,203.10)"
        in body
    )
    assert "The 2 organisations in AUD together\nIncome: 2,401.20; week before 2,001.00 (+400.20, +20.0 %)" in body
    assert "Cash: 100,000.10; week before 100,000.10 (+0.00, +0.0 %)" in body
    assert "The mock Xero invents these figures" in body
    assert body.endswith("Needs a person\nNothing.\n\nAll figures: http://localhost:3001")
    # The letter is no alert: the alerts' addresses get nothing, and no list of problems has it.
    scene.alerter.flush()
    assert scene.inbox.messages == []
    assert read_deployment_status(scene.deployment, scheduler_running=True).alerts == []
    scene.clock.advance(days=7)
    post.tick()
    assert len(post.inbox.take_messages()) == 2


def test_the_letter_says_what_was_restated_and_what_needs_a_person(sqlite_scene: Scene, post: Post) -> None:
    land_weeks(sqlite_scene)
    sqlite_scene.clock.moment = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
    land_profit(
        sqlite_scene.deployment.warehouse,
        profit("1000.00", line("a", "1234.50")),
        week=WEEK.shift(-1),
        tenant_id="tenant-1",
    )
    sqlite_scene.deployment.warehouse.tokens.set_status(OTHER.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
    sqlite_scene.alerter.report_problem("c", "Demo Company: a week does not add up", "text", kind="partial")
    sqlite_scene.clock.moment = DUE
    post.tick()
    body = post.inbox.messages[0].body
    assert (
        "Restated since 16 November 2026\n- Demo Company, week ending 2026-11-14: Sales, amount 1,000.00 → 1,234.50\n\n"
        "Needs a person\n- Demo Company: a week does not add up\n- Other Company: it has to be connected to Xero again"
    ) in body


def test_an_address_that_refuses_gets_the_letter_later_and_people_are_told_once(
    sqlite_scene: Scene, post: Post
) -> None:
    land_weeks(sqlite_scene)
    post.inbox.works = False
    sqlite_scene.clock.moment = DUE
    for _ in range(3):
        assert "2 refused" in post.tick()
        sqlite_scene.clock.advance(minutes=1)
    [alert] = sqlite_scene.inbox.take_messages()
    assert alert.title.startswith("The weekly letter could not be posted to JSON at 127.0.0.1")
    assert "hunter2" not in alert.body + alert.title
    assert "1,200.10" not in alert.body
    post.inbox.works = True
    post.tick()
    post.tick()
    assert len(post.inbox.take_messages()) == 2
    assert sqlite_scene.inbox.titles == [f"Recovered: {alert.title}"]


def test_a_letter_that_two_processes_send_arrives_once(sqlite_scene: Scene, post: Post) -> None:
    land_weeks(sqlite_scene)
    sqlite_scene.clock.moment = DUE
    deployment = sqlite_scene.deployment
    deployment.settings = post.settings
    senders = [DigestSender(deployment, open_alerter(deployment)) for _ in range(2)]
    for sender in senders:
        sender.begin(DUE, DUE)
    deployment.warehouse.engine.dispose()
    assert [sender.send() for sender in senders] == ["2 letters posted, 0 refused.", "0 letters posted, 0 refused."]
    assert len(post.inbox.messages) == 2


def test_after_a_downtime_only_the_last_letter_is_sent(sqlite_scene: Scene, post: Post) -> None:
    land_weeks(sqlite_scene)
    post.inbox.works = False
    sqlite_scene.clock.moment = DUE
    post.tick()
    post.inbox.works = True
    # Two Mondays later, on a Wednesday.
    sqlite_scene.clock.advance(days=16)
    post.tick()
    post.tick()
    assert {message.title for message in post.inbox.messages} == {"The week ending 5 December 2026: 2 organisations"}
    assert "Demo Company\nThere are no figures of this week yet." in post.inbox.messages[0].body


def test_the_sensor_runs_only_where_it_has_an_address(sqlite_scene: Scene, post: Post) -> None:
    assert build_weekly_digest_sensor(post.settings).default_status is dg.DefaultSensorStatus.RUNNING
    without = post.settings.model_copy(update={"digest_urls": ()})
    sensor = build_weekly_digest_sensor(without, opener=post.opener)
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    result: Any = sensor(dg.build_sensor_context(instance=sqlite_scene.instance))
    assert "DIGEST_URLS is empty" in result.skip_message


def test_a_letter_is_due_by_the_clock_of_the_pipelines_time_zone(sqlite_scene: Scene) -> None:
    # Sydney leaves daylight saving on 5 April 2026: 7 in the morning is an hour later in UTC.
    settings = sqlite_scene.settings
    due, before = find_due_times(settings, datetime(2026, 4, 5, 21, 0, tzinfo=UTC))
    assert (due, before) == (datetime(2026, 4, 5, 21, 0, tzinfo=UTC), datetime(2026, 3, 29, 20, 0, tzinfo=UTC))
    assert find_due_times(settings, datetime(2026, 4, 5, 20, 59, tzinfo=UTC))[0] == before


def summary(tenant_id: str, week: Week, income: str | None, currency: str) -> WeekSummary:
    amount = None if income is None else Decimal(income)
    given: dict[str, Any] = {name: amount for name in WeekSummary.__annotations__ if name not in _OTHERS}
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    return WeekSummary(
        **given, tenant_id=tenant_id, week=week, currency=currency, data_source="xero_api", updated_at=moment
    )


_OTHERS = {"tenant_id", "week", "currency", "data_source", "updated_at"}


def test_currencies_are_kept_apart_and_an_unknown_figure_is_no_zero() -> None:
    def figures(name: str, currency: str, now: str | None, before: str | None) -> OrganisationFigures:
        weeks = [summary(name, WEEK, now, currency), summary(name, WEEK.previous, before, currency)]
        return OrganisationFigures(name, name, weeks[0], weeks[1], None)

    organisations = [
        figures("Alpha", "AUD", "10.00", "0.00"),
        figures("Beta", "AUD", "1.10", None),
        figures("Gamma", "GBP", None, None),
        OrganisationFigures("Delta", "Delta", None, None, None),
    ]
    body = Digest(WEEK, organisations, [], WEEK.start, [], "https://books.example.com").body
    assert "Alpha, in AUD\nIncome: 10.00; week before 0.00 (+10.00); last year not known" in body
    assert "Beta, in AUD\nIncome: 1.10; week before not known; last year not known" in body
    assert "Gamma, in GBP\nIncome: not known" in body
    assert "The 2 organisations in AUD together\nIncome: 11.10; week before not known" in body
    assert "in GBP together" not in body
    assert "Delta\nThere are no figures of this week yet." in body
    assert "mock" not in body


def test_a_long_list_of_restatements_is_cut_with_its_number(sqlite_scene: Scene) -> None:
    warehouse = sqlite_scene.deployment.warehouse
    for amount in ("1.00", "2.00"):
        lines = [line(f"a{at}", amount) for at in range(15)]
        land_profit(warehouse, profit("1.00", *lines), tenant_id=DEMO.tenant_id)
    body = build_digest(sqlite_scene.deployment, WEEK, datetime(2026, 11, 1, tzinfo=UTC)).body
    assert body.count("Sales, amount 1.00 → 2.00") == 10
    assert "- and 5 more figures" in body


def test_a_clock_that_was_ahead_holds_no_letter_back(sqlite_scene: Scene, post: Post) -> None:
    land_weeks(sqlite_scene)
    moment = sqlite_scene.clock.moment
    sqlite_scene.clock.moment = datetime(2027, 11, 20, 1, 0, tzinfo=UTC)
    post.tick()
    post.inbox.take_messages()
    sqlite_scene.clock.moment = moment
    post.tick()
    sqlite_scene.clock.moment = DUE
    post.tick()
    assert len(post.inbox.take_messages()) == 2


def test_every_address_gets_the_same_letter(sqlite_scene: Scene, post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    land_weeks(sqlite_scene)
    built = []

    def build(*arguments: Any) -> Any:
        built.append(build_digest(*arguments))
        return built[-1]

    monkeypatch.setattr(digest, "build_digest", build)
    sqlite_scene.clock.moment = DUE
    post.tick()
    assert (len(built), len(post.inbox.take_messages())) == (1, 2)

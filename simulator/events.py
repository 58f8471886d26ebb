"""What happens to a deployment: people edit the books, faults are armed, processes die, keys are rotated.

Each function is an event's kind. It gets the world and a random source of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from simulator import database, lists, network
from simulator.plan import Event
from simulator.truth import KINDS
from xero_pipeline.mock_xero import Document, DocumentKind, MockLine
from xero_pipeline.mock_xero.books import chart
from xero_pipeline.warehouse.logs.sync_types import SyncType
from xero_pipeline.weeks import Week

if TYPE_CHECKING:
    from simulator.world import World

# How long after an edit its figures may be old, when nothing fails. `late_edits` looks once a day here, and some hours
# after each edit.
DOCUMENTS_WITHIN = timedelta(hours=22)
# An edit of a paid document moves later balances, which are read after the edited weeks.
BALANCES_WITHIN = timedelta(hours=60)
# A silent edit is found by the comparison of the newest block, or the one of an older block, which comes seven times
# less often. These are for a comparison each day; the promises of other deployments are as many times as long.
SILENT_WITHIN = timedelta(days=3.6)
SILENT_WITHIN_OLD = timedelta(days=11)
# A move within a block is found once each place to split the block was tried: eight of up to 51 a look.
MOVED_WITHIN = timedelta(days=12)
MOVED_WITHIN_OLD = timedelta(days=75)
# How often documents of each kind are edited, by weight.
_EDITED = {DocumentKind.SALE: 5, DocumentKind.SALE_CREDIT: 3, DocumentKind.BILL: 1.5, DocumentKind.BILL_CREDIT: 0.5}


class Editor:
    """Somebody who edits one organisation's books."""

    def __init__(self, world: World, draw: random.Random, organisation: int) -> None:
        self.world = world
        self.draw = draw
        # The weeks that it edits; without any, all of them and mostly the newest.
        self.weeks: list[Week] = []
        self.tenant_id = world.plan.organisations[organisation].tenant_id
        self.mock = world.mock
        self.books = world.mock.books(self.tenant_id)
        self.truth = world.truths[self.tenant_id]
        self.promises = world.laws.promises[self.tenant_id]

    def choose_week(self) -> Week:
        """A closed week, mostly one of the newest."""
        weeks = self.weeks or self.world.weeks()
        if not self.weeks and self.draw.random() < 0.8:
            weeks = weeks[-5:]
        return self.draw.choice(weeks)

    def choose_day(self, week: Week) -> date:
        return week.start + timedelta(days=self.draw.randrange(7))

    def choose_document(self, week: Week) -> Document | None:
        by_kind: dict[DocumentKind, list[Document]] = {}
        for one in self.books.documents(week):
            if one.status.is_counted and not one.is_foreign:
                by_kind.setdefault(one.kind, []).append(one)
        # The mock has many bills; most edits are of what the tables count.
        kinds = sorted(by_kind, key=list(_EDITED).index)
        if not kinds:
            return None
        return self.draw.choice(by_kind[self.draw.choices(kinds, [_EDITED[kind] for kind in kinds])[0]])

    def make_lines(self) -> list[MockLine]:
        return [
            MockLine(
                amount=Decimal(self.draw.randint(1_000, 900_000)) / 100,
                account_code=self.draw.choice(("200", "210", "260")),
                revenue_type=self.draw.choice(("Residential", "Commercial", "Retrospective", None)),
                region=self.draw.choice(("North", "South", "East", None)),
            )
            for _ in range(self.draw.choice((1, 1, 2, 3)))
        ]

    def change_documents(
        self, weeks: set[Week], change: Callable[[], object], *, is_bill: bool = False, moves: bool = False
    ) -> None:
        """Make an edit of documents that concerns these weeks.

        No table counts a bill, so where a bill was, and when it was paid, is not known before its first edit was seen.
        Then only the comparison with Xero's totals finds its old week.
        """
        self.truth.remember(weeks)
        change()
        first, now = min(weeks), self.world.now()
        self.truth.forget([SyncType.PROFIT_AND_LOSS, SyncType.INVOICES], lambda week: week in weeks)
        self.truth.forget([SyncType.BANK_SUMMARY], lambda week: week >= first)
        silent = self.compute_silence(weeks, moves=moves)
        for week in weeks:
            for kind in KINDS:
                self.promises.excuse(kind, week, now + DOCUMENTS_WITHIN)
                if is_bill and moves:
                    self.promises.excuse_silent(kind, week, week, now + silent)
        self.promises.excuse_from(SyncType.BANK_SUMMARY, first, now + BALANCES_WITHIN)
        if is_bill:
            self.promises.excuse_silent(SyncType.BANK_SUMMARY, first, None, now + silent)
            self.world.await_comparison(silent)
        self.world.machine.counts["edit of a document"] += 1

    def compute_silence(self, weeks: set[Week], *, moves: bool) -> timedelta:
        """Within how much time the comparison with Xero's totals finds an edit."""
        looks = self.world.plan.days_between_looks
        within = looks * (MOVED_WITHIN if moves else SILENT_WITHIN)
        if self.world.is_in_older_block(min(weeks), within) or self.world.is_in_older_block(max(weeks), within):
            return looks * (MOVED_WITHIN_OLD if moves else SILENT_WITHIN_OLD)
        return within

    def change_silently(self, weeks: set[Week], change: Callable[[], object], *, moves: bool = False) -> None:
        """Make an edit that no list of changes shows."""
        self.truth.remember(weeks)
        change()
        first, now = min(weeks), self.world.now()
        self.truth.forget(KINDS, lambda week: week >= first)
        within = self.compute_silence(weeks, moves=moves)
        for week in weeks:
            self.promises.excuse_silent(SyncType.PROFIT_AND_LOSS, week, week, now + within)
        self.promises.excuse_silent(SyncType.BANK_SUMMARY, first, None, now + within)
        self.world.await_comparison(within)
        self.world.machine.counts["silent edit"] += 1


def edit(editor: Editor) -> None:
    week = editor.choose_week()
    document = editor.choose_document(week)
    if document is None:
        return new_invoice(editor)
    change = Decimal(editor.draw.randint(-3000, 9000)) / 100 + Decimal("0.01")
    act = editor.mock.edit_credit_note if _is_credit(document) else editor.mock.edit_invoice
    return editor.change_documents(
        _weeks_of(document, week),
        lambda: act(editor.tenant_id, document.id, change=change),
        is_bill=not document.kind.is_sale,
    )


def void(editor: Editor) -> None:
    week = editor.choose_week()
    document = editor.choose_document(week)
    if document is None:
        return new_invoice(editor)
    act = editor.mock.void_credit_note if _is_credit(document) else editor.mock.void_invoice
    return editor.change_documents(
        _weeks_of(document, week), lambda: act(editor.tenant_id, document.id), is_bill=not document.kind.is_sale
    )


def move(editor: Editor) -> None:
    week, other = editor.choose_week(), editor.choose_week()
    document = editor.choose_document(week)
    if document is None:
        return new_invoice(editor)
    day = editor.choose_day(other)
    return editor.change_documents(
        _weeks_of_move(document, week, day),
        lambda: _move_to(editor, document, day),
        is_bill=not document.kind.is_sale,
        moves=True,
    )


def _move_to(editor: Editor, document: Document, day: date) -> None:
    act = editor.mock.move_credit_note if _is_credit(document) else editor.mock.move_invoice
    act(editor.tenant_id, document.id, day)


def _weeks_of_move(document: Document, week: Week, day: date) -> set[Week]:
    weeks = _weeks_of(document, week) | {Week.containing(day)}
    if document.paid_on is not None:
        weeks.add(Week.containing(max(document.paid_on, day)))
    return weeks


def new_invoice(editor: Editor) -> None:
    _add(editor, DocumentKind.SALE)


def new_bill(editor: Editor) -> None:
    _add(editor, DocumentKind.BILL)


def credit(editor: Editor) -> None:
    week = editor.choose_week()
    day, lines = editor.choose_day(week), editor.make_lines()
    editor.change_documents({week}, lambda: editor.mock.add_credit_note(editor.tenant_id, date=day, lines=lines))


def _add(editor: Editor, kind: DocumentKind) -> None:
    week = editor.choose_week()
    day = editor.choose_day(week)
    lines = editor.make_lines()
    if kind is DocumentKind.BILL:
        lines = [replace(line, account_code=chart.MATERIALS) for line in lines]
    paid_on = day if editor.draw.random() < 0.2 else None
    editor.change_documents(
        {week},
        lambda: editor.mock.add_invoice(editor.tenant_id, date=day, lines=lines, kind=kind, paid_on=paid_on),
    )


def pay(editor: Editor) -> None:
    week = editor.choose_week()
    document = editor.choose_document(week)
    if document is None or _is_credit(document):
        return new_invoice(editor)
    paid_on = document.date + timedelta(days=editor.draw.randrange(0, 9))
    if paid_on >= editor.books.today:
        paid_on = document.date
    weeks = _weeks_of(document, week) | {Week.containing(paid_on)}
    return editor.change_documents(
        weeks,
        lambda: editor.mock.edit_invoice(editor.tenant_id, document.id, paid_on=paid_on),
        is_bill=not document.kind.is_sale,
    )


def journal(editor: Editor) -> None:
    week = editor.choose_week()
    day = editor.choose_day(week)
    amount = Decimal(editor.draw.randint(100, 500_000)) / 100 * editor.draw.choice((1, -1))
    code = editor.draw.choice((chart.RENT, chart.INSURANCE, chart.DEPRECIATION, chart.SUNDRY_INCOME, "429"))
    editor.change_silently(
        {week}, lambda: editor.mock.post_journal(editor.tenant_id, date=day, account_code=code, amount=amount)
    )


def bank_movement(editor: Editor) -> None:
    week = editor.choose_week()
    day = editor.choose_day(week)
    amount = -Decimal(editor.draw.randint(100, 300_000)) / 100
    code = editor.draw.choice((chart.BANK_FEES, "485"))
    editor.change_silently(
        {week}, lambda: editor.mock.add_bank_movement(editor.tenant_id, date=day, account_code=code, amount=amount)
    )


def payroll(editor: Editor) -> None:
    week, other = editor.choose_week(), editor.choose_week()
    if editor.draw.random() < 0.5:
        other = week.previous if week.previous in editor.world.weeks() else week
    amount = Decimal(editor.draw.randint(10_000, 300_000)) / 100
    days = editor.choose_day(week), editor.choose_day(other)
    editor.change_silently(
        {week, other},
        lambda: editor.mock.move_payroll(editor.tenant_id, from_date=days[0], to_date=days[1], amount=amount),
        moves=True,
    )


def retype(editor: Editor) -> None:
    code = editor.draw.choice((chart.BANK_FEES, "449", "453"))
    kind = "EXPENSE" if editor.books.chart[code].type == "DIRECTCOSTS" else "DIRECTCOSTS"
    editor.mock.retype_account(editor.tenant_id, code, kind)
    weeks = editor.world.weeks()
    editor.truth.forget([SyncType.PROFIT_AND_LOSS], lambda _week: True)
    within = editor.compute_silence({weeks[0]}, moves=False)
    editor.promises.excuse_silent(SyncType.PROFIT_AND_LOSS, weeks[0], None, editor.world.now() + within)
    editor.world.await_comparison(within)
    editor.world.machine.counts["silent edit"] += 1


def _is_credit(document: Document) -> bool:
    return document.kind in (DocumentKind.SALE_CREDIT, DocumentKind.BILL_CREDIT)


def _weeks_of(document: Document, week: Week) -> set[Week]:
    """The weeks whose figures an edit of the document changes: its own, and the one in which it was paid."""
    weeks = {week}
    if document.paid_on is not None:
        weeks.add(Week.containing(document.paid_on))
    return weeks


EDITS: dict[str, Callable[[Editor], None]] = {
    function.__name__: function
    for function in (edit, void, move, new_invoice, new_bill, credit, pay, journal, bank_movement, payroll, retype)
}


# What goes wrong.


def http_fault(world: World, draw: random.Random, event: Event) -> None:
    values = event.values
    until = world.now() + timedelta(hours=values["hours"]) if values["hours"] else None
    armed = network.ArmedFault(values["name"], values["endpoint"], values["times"], until, values["skip"])
    world.network.armed.append(armed)


def list_fault(world: World, draw: random.Random, event: Event) -> None:
    values = event.values
    change = replace_listed if values["name"] == "replaced between pages" else edit_listed
    world.network.list_faults.append(
        lists.ListFault(
            values["name"],
            values["endpoint"],
            values["times"],
            values["skip"],
            lambda page, tenant_id: change(Editor(world, draw, world.find_organisation(tenant_id)), page),
        )
    )


def edit_listed(editor: Editor, page: lists.ListedPage) -> bool:
    """Somebody edits what is being listed."""
    editor.weeks = page.list_weeks(editor.world.weeks()) or editor.world.weeks()[-2:]
    if not editor.weeks:
        return False
    editor.draw.choice((edit, void, move, credit))(editor)
    return True


def replace_listed(editor: Editor, page: lists.ListedPage) -> bool:
    """A document that was on the page leaves the list, and one that belongs on a later page enters it."""
    known = editor.world.weeks()
    weeks = page.list_weeks(known)
    if not weeks:
        return False
    kind = DocumentKind.SALE if page.container == "Invoices" else DocumentKind.SALE_CREDIT
    others = [weeks[0].shift(-number) for number in (1, 2, 3)] + [week for week in known if week > weeks[-1]][:3]

    def list_documents(of: list[Week]) -> list[tuple[Week, Document]]:
        return [
            (week, one)
            for week in of
            for one in editor.books.documents(week)
            if one.kind is kind and one.status.is_counted and not one.is_foreign
        ]

    leaving = [one for one in list_documents(weeks) if one[1].id in page.keys]
    entering = [one for one in list_documents(others) if one[1].id > page.keys[-1]]
    if not leaving or not entering:
        return False
    (week, left), (other, entered) = editor.draw.choice(leaving), editor.draw.choice(entering)
    days = editor.choose_day(editor.draw.choice(others)), editor.choose_day(editor.draw.choice(weeks))

    def change() -> None:
        _move_to(editor, left, days[0])
        _move_to(editor, entered, days[1])

    affected = _weeks_of_move(left, week, days[0]) | _weeks_of_move(entered, other, days[1])
    editor.change_documents(affected, change, moves=True)
    return True


def database_fault(world: World, draw: random.Random, event: Event) -> None:
    del draw
    values = event.values
    until = world.now() + timedelta(hours=values["hours"]) if values["hours"] else None
    world.database.armed.append(database.ArmedFault(values["name"], values["skip"], values["times"], until))


def kill(world: World, draw: random.Random, event: Event) -> None:
    del draw
    world.doomed.append((event.values["process"], event.values["step"]))


def power_cut(world: World, draw: random.Random, event: Event) -> None:
    """Every process dies at once, within the next run, so that nobody tells Dagster."""
    del event
    world.start_hand(draw)
    moment = world.scheduler.now() + timedelta(seconds=draw.uniform(1, 60))
    world.scheduler.at(moment, world.cut_power)


def clock_step(world: World, draw: random.Random, event: Event) -> None:
    """Somebody sets the machine's clock wrong; hours later it is set right."""
    del event
    step = timedelta(seconds=draw.choice((-7200, -600, -30, 20, 900, 5400)))
    world.machine.skew += step
    world.machine.note("clock set wrong")

    def correct() -> None:
        world.machine.skew -= step
        world.machine.note("clock set right")

    world.scheduler.at(world.now() + timedelta(hours=draw.uniform(0.5, 10)), correct)


def mail_away(world: World, draw: random.Random, event: Event) -> None:
    del event
    world.mailbox.refuses_until = world.now() + timedelta(hours=draw.uniform(0.5, 12))


# What people do.


def sync_by_hand(world: World, draw: random.Random, event: Event) -> None:
    del event
    world.start_hand(draw)


def several_by_hand(world: World, draw: random.Random, event: Event) -> None:
    """Several people sync at the same moment, beside whatever runs; often the same weeks."""
    del event
    same = random.Random(draw.getrandbits(32)).getstate() if draw.random() < 0.7 else None
    for _ in range(draw.choice((2, 2, 3))):
        own = random.Random(draw.getrandbits(32))
        if same is not None:
            own.setstate(same)
        world.start_hand(own)


def tick(world: World, draw: random.Random, event: Event) -> None:
    del draw, event
    world.start_tick()


def restart(world: World, draw: random.Random, event: Event) -> None:
    """The database server restarts: open connections are gone."""
    del draw, event
    if not world.machine.processes:
        world.database.cut_connections()
        world.machine.counts["restart"] += 1


def locks_lost(world: World, draw: random.Random, event: Event) -> None:
    """Two syncs go on, and PostgreSQL restarts or somebody deletes the files of SQLite's locks: both go on at once."""
    several_by_hand(world, draw, event)
    for seconds in (2, 3, 4, 6, 9):
        world.scheduler.at(world.now() + timedelta(seconds=seconds), world.machine.lose_locks)


def rotate_key(world: World, draw: random.Random, event: Event) -> None:
    del event
    world.rotate_key(draw)


def consent_again(world: World, draw: random.Random, event: Event) -> None:
    del draw, event
    world.start_consent()


def disconnect_at_xero(world: World, draw: random.Random, event: Event) -> None:
    """Somebody ends the connection in Xero, and somebody connects again days later."""
    tenant_id = world.plan.organisations[event.values["organisation"]].tenant_id
    world.mock.disconnect(tenant_id)
    world.machine.note("disconnected at Xero")
    world.away_until = world.now() + timedelta(days=draw.uniform(0.2, 1.2))
    world.scheduler.at(world.away_until, world.start_consent)


def disconnect(world: World, draw: random.Random, event: Event) -> None:
    tenant_id = world.plan.organisations[event.values["organisation"]].tenant_id
    world.start_disconnect(tenant_id)
    world.away_until = world.now() + timedelta(days=draw.uniform(0.2, 1.2))
    world.scheduler.at(world.away_until, world.start_consent)


OTHERS: dict[str, Callable[[World, random.Random, Event], None]] = {
    function.__name__: function
    for function in (
        http_fault,
        list_fault,
        database_fault,
        kill,
        power_cut,
        clock_step,
        mail_away,
        sync_by_hand,
        several_by_hand,
        tick,
        restart,
        locks_lost,
        rotate_key,
        consent_again,
        disconnect_at_xero,
        disconnect,
    )
}


def happen(world: World, event: Event) -> None:
    """Let an event happen."""
    draw = random.Random(event.seed)
    if event.kind in EDITS:
        if world.weeks():
            EDITS[event.kind](Editor(world, draw, event.values["organisation"]))
            world.look_within(timedelta(hours=draw.uniform(1, 10)))
    else:
        OTHERS[event.kind](world, draw, event)

"""Comparing an organisation's blocks with Xero's totals, and finding the weeks that have to be read again.

The profit and loss is compared account by account. The bank summary is compared by opening and closing balances and
by the sums of the movements. Invoices are compared by their number; credit notes, which are listed whole, one by one.

A block that differs is searched with as few calls as possible (`search.py`). A difference that was left over by an
earlier look, when its weeks had been read again, is known: it is reported, but not searched again. Currency gains are
never searched, since unrealised ones need not add up over ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from sqlalchemy import Engine

from xero_pipeline.money import ZERO
from xero_pipeline.reconciliation.blocks import choose_split, group_blocks
from xero_pipeline.reconciliation.comparison import (
    Comparison,
    FigureDifference,
    KnownDifferences,
    Reading,
    compare_bank,
    compare_profit,
)
from xero_pipeline.reconciliation.search import Figure, Search
from xero_pipeline.reconciliation.xero_totals import XeroTotals
from xero_pipeline.warehouse.figures.balances import find_weeks_with_old_balances
from xero_pipeline.warehouse.figures.totals import HeldFigures, read_held_figures
from xero_pipeline.warehouse.logs.reconciliations import ReconciliationKind
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.readers.profit_and_loss import get_category

KINDS = tuple(ReconciliationKind)
# An edit in the ledger may well be money spent or received, and the other way round: both reports are read again.
_LEDGER = ("financial_weekly", "cash_position_weekly")
_BALANCES = ("cash_position_weekly",)
_DOCUMENTS = ("financial_weekly", "revenue_weekly")
_INVOICES: Figure = ("invoices", "count")

_Compare = Callable[[WeekRange], list[FigureDifference]]

Known = Mapping[tuple[ReconciliationKind, Week], KnownDifferences]
"""What earlier looks have left, by kind and the block's first week."""

ListDone = Callable[[Comparison], Collection[Reading]]
"""Lists what has been read since the present differences of a block were first seen."""


class Reconciler:
    """Compares the stored weeks of one organisation with Xero's totals. One object is one look.

    Args:
        known: differences that are not searched again.
        splits: how many further splits of each block are compared, as `blocks.choose_split` numbers them, from the
            look of that number on: `(first, count)` by the block's first week.
        may_ask: whether another call may be made now. Without calls, larger ranges are read again.
        list_done: what has been read again already and so does not explain a difference any more.
    """

    def __init__(
        self,
        client: OrganisationClient,
        engine: Engine,
        *,
        cash_basis: bool,
        known: Known | None = None,
        splits: Mapping[Week, tuple[int, int]] | None = None,
        may_ask: Callable[[], bool] = lambda: True,
        list_done: ListDone = lambda _comparison: (),
    ) -> None:
        # A process that lives long has cached the chart of accounts, and an account may have another type by now.
        client.forget_accounts()
        self._client = client
        self._engine = engine
        self._xero = XeroTotals(client, cash_basis=cash_basis)
        self._known = known or {}
        self._splits = splits or {}
        self._may_ask = may_ask
        self._list_done = list_done

    def compare(self, blocks: Sequence[WeekRange], kinds: Iterable[ReconciliationKind] = KINDS) -> list[Comparison]:
        """Compare these blocks, and say which of their weeks have to be read again.

        Raises:
            XeroError: Xero did not answer, or an answer is not understood.
        """
        wanted = list(kinds)
        comparisons: list[Comparison] = []
        for group in group_blocks(blocks):
            held = read_held_figures(self._engine, self._client.tenant_id, WeekRange(group[0].first, group[-1].last))
            for block in group:
                if ReconciliationKind.PROFIT_AND_LOSS in wanted:
                    comparisons.append(self._compare_profit(block, held))
            if ReconciliationKind.DOCUMENTS in wanted:
                comparisons += self._compare_documents(group, held)
            for block in group:
                if ReconciliationKind.BANK_SUMMARY in wanted:
                    others = [other for other in comparisons if other.weeks == block]
                    comparisons.append(self._compare_bank(block, held, others))
        self._choose_balance_weeks([one for one in comparisons if one.kind is ReconciliationKind.BANK_SUMMARY])
        return comparisons

    def _compare_profit(self, block: WeekRange, held: HeldFigures) -> Comparison:
        calls_before = self._xero.calls

        def compare(weeks: WeekRange) -> list[FigureDifference]:
            stated = self._xero.fetch_profit(weeks)
            return compare_profit(stated, held.sum_profit(weeks), held.names | self._xero.names)

        comparison = Comparison(self._client.tenant_id, ReconciliationKind.PROFIT_AND_LOSS, block)
        comparison.differences = compare(block)
        comparison.stated = sum(self._xero.fetch_profit(block).values(), ZERO)
        comparison.held = sum(held.sum_profit(block).values(), ZERO)
        known = self._get_known(comparison)
        comparison.recognise(known)
        # Weeks whose accounts have another type by now are read again first, which may explain the difference.
        comparison.read_again(self._find_retyped_weeks(block, held), ("financial_weekly",))
        unknown = comparison.list_searched(comparison.differences)
        if unknown and not self._list_pending(comparison):
            self._search(comparison, block, unknown, compare)
        elif not unknown:
            self._compare_parts(comparison, known, compare)
        comparison.calls = self._xero.calls - calls_before
        return comparison

    def _search(
        self, comparison: Comparison, weeks: WeekRange, amounts: Mapping[Figure, Decimal], compare: _Compare
    ) -> None:
        """Have the weeks read again in which these figures differ."""
        figures = set(amounts)

        def compare_figures(part: WeekRange) -> dict[Figure, Decimal]:
            # The search subtracts: what is not searched in the block must not turn up in its parts.
            searched = comparison.list_searched(compare(part))
            return {key: amount for key, amount in searched.items() if key in figures}

        comparison.is_searched = True
        for found in Search(compare_figures, self._may_ask).find(weeks, amounts):
            comparison.read_again(found, _LEDGER)

    def _compare_parts(self, comparison: Comparison, known: KnownDifferences, compare: _Compare) -> None:
        """Compare parts of a block that is equal as a whole, to find edits that cancel each other out in it.

        The parts that differed at the last look come first. What is left over in one of them proves nothing in others.
        """
        left_out: set[Figure] = set()
        for part, amounts in known.parts.items():
            if self._compare_part(comparison, part, compare, amounts, left_out):
                return
            left_out |= {one.key for one in comparison.part_differences}
        block = comparison.weeks
        first, count = self._splits.get(block.first, (0, 0))
        for look in range(first, first + min(count, len(block) - 1)):
            split = choose_split(block, look)
            if split is None or not self._may_ask():
                return
            if split not in known.parts and self._compare_part(comparison, split, compare, {}, left_out):
                return

    def _compare_part(
        self,
        comparison: Comparison,
        part: WeekRange,
        compare: _Compare,
        known: Mapping[Figure, Decimal],
        left_out: Collection[Figure],
    ) -> bool:
        """Compare the first part of a block, and return whether weeks have to be read again for it."""
        block = comparison.weeks
        if not (part.first == block.first and part.last < block.last):
            return False
        differences = compare(part)
        amounts = comparison.list_searched(differences, left_out)
        comparison.part_differences += [replace(one, part=part) for one in differences if one.key in amounts]
        unknown = {key: amount for key, amount in amounts.items() if known.get(key) != amount}
        if not unknown:
            return False
        comparison.has_unknown = True
        self._search(comparison, part, unknown, compare)
        rest = WeekRange(part.last.shift(1), block.last)
        self._search(comparison, rest, {key: -amount for key, amount in unknown.items()}, compare)
        return True

    def _find_retyped_weeks(self, block: WeekRange, held: HeldFigures) -> Iterator[Week]:
        """Yield the weeks with an account that has another type or category in the chart by now."""
        for week in block:
            for account_id, line in held.profit.get(week, {}).items():
                account = self._client.accounts.get(account_id)
                category = get_category(account) if account else None
                if line.account_type != (account.type if account else None) or category not in (None, line.category):
                    yield week
                    break

    def _compare_bank(self, block: WeekRange, held: HeldFigures, others: Iterable[Comparison]) -> Comparison:
        """Compare the bank summary. Weeks that are read again for other kinds come first: they may explain it."""
        calls_before = self._xero.calls

        def compare(weeks: WeekRange) -> list[FigureDifference]:
            return compare_bank(self._xero.fetch_bank(weeks), held.sum_bank(weeks), held.names | self._xero.names)

        comparison = Comparison(self._client.tenant_id, ReconciliationKind.BANK_SUMMARY, block)
        comparison.differences = compare(block)
        comparison.stated = sum((one.closing_balance for one in self._xero.fetch_bank(block).values()), ZERO)
        comparison.held = sum((one.closing_balance for one in held.sum_bank(block).values()), ZERO)
        comparison.recognise(self._get_known(comparison))
        unknown = comparison.list_searched(comparison.differences)
        if unknown and not any(map(self._list_pending, others)):
            self._search(comparison, block, unknown, compare)
        comparison.calls = self._xero.calls - calls_before
        return comparison

    def _choose_balance_weeks(self, comparisons: Sequence[Comparison]) -> None:
        """Choose the weeks whose balances are read again, once no movement waits to be read.

        A movement that was entered later changes the balances of every later week. The stored balances themselves
        show from which week on; otherwise all of the block is read again.
        """
        different = [one for one in comparisons if {diff.key for diff in one.differences} - self._list_movements(one)]
        waits = False
        for comparison in comparisons:
            if comparison.list_searched(comparison.differences):
                waits |= not comparison.is_searched or bool(self._list_pending(comparison))
        old = None if waits else find_weeks_with_old_balances(self._engine, self._client.tenant_id)
        first_old = old[0] if old is not None and old[0] < old[1] else None
        for comparison in different:
            comparison.is_searched = not waits
            if not waits:
                weeks = [week for week in comparison.weeks if first_old is None or first_old <= week]
                comparison.read_again(weeks or comparison.weeks, _BALANCES)

    def _list_movements(self, comparison: Comparison) -> set[Figure]:
        """List the figures that are known, and the movements that are searched."""
        return comparison.known | comparison.list_searched(comparison.differences).keys()

    def _compare_documents(self, group: Sequence[WeekRange], held: HeldFigures) -> list[Comparison]:
        """Compare the documents of blocks that follow each other. If all is equal, that takes two calls for all."""
        calls_before = self._xero.calls
        whole = WeekRange(group[0].first, group[-1].last)
        credit_notes, keys = self._xero.fetch_credit_notes(whole)

        def count_held(weeks: WeekRange) -> int:
            return sum(key not in keys for week in weeks for key in held.documents.get(week, {}))

        def compare(weeks: WeekRange) -> dict[Figure, Decimal]:
            difference = self._xero.count_invoices(weeks) - count_held(weeks)
            return {_INVOICES: Decimal(difference)} if difference else {}

        in_doubt = bool(compare(whole))
        comparisons = []
        for block in group:
            comparison = Comparison(self._client.tenant_id, ReconciliationKind.DOCUMENTS, block)
            invoices = count_held(block)
            stated_invoices = self._xero.count_invoices(block) if in_doubt else invoices
            other_notes: list[Week] = []
            for week in block:
                of_week = {key: state for key, state in held.documents.get(week, {}).items() if key in keys}
                if credit_notes.get(week, {}) != of_week:
                    other_notes.append(week)
            held_notes = sum(key in keys for week in block for key in held.documents.get(week, {}))
            stated_notes = sum(len(credit_notes.get(week, {})) for week in block)
            comparison.stated = Decimal(stated_invoices + stated_notes)
            comparison.held = Decimal(invoices + held_notes)
            counts = {"invoices": (stated_invoices, invoices), "credit notes": (stated_notes, held_notes)}
            comparison.differences = [
                FigureDifference(what, what, "count", Decimal(stated), Decimal(in_tables))
                for what, (stated, in_tables) in counts.items()
                if stated != in_tables
            ]
            if other_notes and not comparison.differences:
                amount = Decimal(len(other_notes))
                comparison.differences = [
                    FigureDifference("credit notes", "credit notes", "weeks with other figures", amount, ZERO)
                ]
            comparison.recognise(self._get_known(comparison))
            unknown = comparison.list_searched(comparison.differences)
            comparison.is_searched = True
            if any(account == "credit notes" for account, _ in unknown):
                comparison.read_again(other_notes, _DOCUMENTS)
            invoices_unknown = {key: amount for key, amount in unknown.items() if key == _INVOICES}
            for weeks in Search(compare, self._may_ask).find(block, invoices_unknown):
                comparison.read_again(weeks, _DOCUMENTS)
            comparison.calls = self._xero.calls - calls_before
            calls_before = self._xero.calls
            comparisons.append(comparison)
        return comparisons

    def _get_known(self, comparison: Comparison) -> KnownDifferences:
        return self._known.get((comparison.kind, comparison.weeks.first), KnownDifferences())

    def _list_pending(self, comparison: Comparison) -> set[Reading]:
        """List what has to be read again and has not been read yet."""
        return comparison.list_readings().difference(self._list_done(comparison))

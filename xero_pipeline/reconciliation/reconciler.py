"""Comparing an organisation's blocks with Xero's totals, and finding the weeks that have to be read again.

The profit and loss is compared account by account. The bank summary is compared by opening and closing balances and
by the sums of the movements. Invoices are compared by their number; credit notes, which are listed whole, one by one.

A block that differs is searched with as few calls as possible (`search.py`). A difference that was left over by an
earlier look, when its weeks had been read again, is known: it is reported, but not searched again. Unrealised currency
gains, for example, need not add up over ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from sqlalchemy import Engine

from xero_pipeline.identifiers import CURRENCY_GAINS
from xero_pipeline.money import ZERO
from xero_pipeline.reconciliation.blocks import choose_split, group_blocks
from xero_pipeline.reconciliation.comparison import (
    Comparison,
    FigureDifference,
    compare_bank,
    compare_profit,
    list_amounts,
    list_movements,
)
from xero_pipeline.reconciliation.search import Figure, Search, subtract
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

Known = Mapping[tuple[ReconciliationKind, Week], Mapping[Figure, Decimal]]
"""What was left over by earlier looks, by kind and the block's first week."""


class Reconciler:
    """Compares the stored weeks of one organisation with Xero's totals. One object is one look.

    Args:
        known: differences that are not searched again.
        splits: how many further splits of each block are compared, as `blocks.choose_split` numbers them, from the
            look of that number on: `(first, count)` by the block's first week.
        may_ask: whether another call may be made now. Without calls, larger ranges are read again.
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
    ) -> None:
        # A process that lives long has cached the chart of accounts, and an account may have another type by now.
        client.forget_accounts()
        self._client = client
        self._engine = engine
        self._xero = XeroTotals(client, cash_basis=cash_basis)
        self._known = known or {}
        self._splits = splits or {}
        self._may_ask = may_ask

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
                    to_read = {week for other in comparisons if other.weeks == block for week in other.weeks_to_read}
                    comparisons.append(self._compare_bank(block, held, to_read))
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
        unknown = self._leave_out_known(comparison, list_amounts(comparison.differences))
        # Weeks whose accounts have another type by now are read again anyway, which may explain the difference.
        retyped = set(self._find_retyped_weeks(block, held))
        comparison.read_again(retyped, ("financial_weekly",))
        if unknown and not retyped:
            search = Search(lambda weeks: list_amounts(compare(weeks)), self._may_ask)
            for weeks in search.find(block, unknown):
                comparison.read_again(weeks, _LEDGER)
        elif not comparison.differences:
            self._compare_splits(comparison, compare)
        comparison.calls = self._xero.calls - calls_before
        return comparison

    def _compare_splits(self, comparison: Comparison, compare: Callable[[WeekRange], list[FigureDifference]]) -> None:
        """Compare parts of a block that is equal as a whole, to find edits that cancel each other out in it."""

        def compare_part(weeks: WeekRange) -> list[FigureDifference]:
            # Currency gains need not add up over parts of the block, so they prove nothing here.
            return [one for one in compare(weeks) if one.account_id != CURRENCY_GAINS]

        block = comparison.weeks
        first, count = self._splits.get(block.first, (0, 0))
        for look in range(first, first + min(count, len(block) - 1)):
            part = choose_split(block, look)
            if part is None or not self._may_ask():
                return
            differences = compare_part(part)
            if not differences:
                continue
            comparison.differences = differences
            rest = WeekRange(part.last.shift(1), block.last)
            amounts = list_amounts(differences)
            for weeks, difference in ((part, amounts), (rest, {key: -amount for key, amount in amounts.items()})):
                search = Search(lambda weeks: list_amounts(compare_part(weeks)), self._may_ask)
                for found in search.find(weeks, difference):
                    comparison.read_again(found, _LEDGER)
            return

    def _find_retyped_weeks(self, block: WeekRange, held: HeldFigures) -> Iterator[Week]:
        """Yield the weeks with an account that has another type or category in the chart by now."""
        for week in block:
            for account_id, line in held.profit.get(week, {}).items():
                account = self._client.accounts.get(account_id)
                category = get_category(account) if account else None
                if line.account_type != (account.type if account else None) or category not in (None, line.category):
                    yield week
                    break

    def _compare_bank(self, block: WeekRange, held: HeldFigures, weeks_being_read: set[Week]) -> Comparison:
        """Compare the bank summary. Weeks that are read again anyway come first: they may explain the difference."""
        calls_before = self._xero.calls

        def compare(weeks: WeekRange) -> list[FigureDifference]:
            return compare_bank(self._xero.fetch_bank(weeks), held.sum_bank(weeks), held.names | self._xero.names)

        comparison = Comparison(self._client.tenant_id, ReconciliationKind.BANK_SUMMARY, block)
        comparison.differences = compare(block)
        comparison.stated = sum((one.closing_balance for one in self._xero.fetch_bank(block).values()), ZERO)
        comparison.held = sum((one.closing_balance for one in held.sum_bank(block).values()), ZERO)
        unknown = self._leave_out_known(comparison, list_movements(comparison.differences))
        if unknown and not weeks_being_read:
            search = Search(lambda weeks: list_movements(compare(weeks)), self._may_ask)
            for weeks in search.find(block, unknown):
                comparison.read_again(weeks, _LEDGER)
        comparison.calls = self._xero.calls - calls_before
        return comparison

    def _choose_balance_weeks(self, comparisons: Sequence[Comparison]) -> None:
        """Choose the weeks whose balances are read again, once all movements are right.

        A movement that was entered later changes the balances of every later week. The stored balances themselves
        show from which week on; otherwise all of the block is read again.
        """
        different = [one for one in comparisons if self._leave_out_known(one, list_amounts(one.differences))]
        if not different or any(list_movements(one.differences) for one in different):
            return
        old = find_weeks_with_old_balances(self._engine, self._client.tenant_id)
        for comparison in different:
            from_old_week_on = old is not None and old[0] < old[1]
            comparison.read_again(
                (week for week in comparison.weeks if not from_old_week_on or (old and old[0] <= week)), _BALANCES
            )

    def _compare_documents(self, group: Sequence[WeekRange], held: HeldFigures) -> list[Comparison]:
        """Compare the documents of blocks that follow each other. If all is equal, that takes two calls for all."""
        calls_before = self._xero.calls
        whole = WeekRange(group[0].first, group[-1].last)
        credit_notes, keys = self._xero.fetch_credit_notes(whole)

        def count_held(weeks: WeekRange) -> int:
            return sum(key not in keys for week in weeks for key in held.documents.get(week, {}))

        def compare(weeks: WeekRange) -> dict[Figure, Decimal]:
            difference = self._xero.count_invoices(weeks) - count_held(weeks)
            return {("invoices", "count"): Decimal(difference)} if difference else {}

        in_doubt = bool(compare(whole))
        comparisons = []
        for block in group:
            comparison = Comparison(self._client.tenant_id, ReconciliationKind.DOCUMENTS, block)
            invoices = count_held(block)
            stated_invoices = self._xero.count_invoices(block) if in_doubt else invoices
            for week in block:
                of_week = {key: state for key, state in held.documents.get(week, {}).items() if key in keys}
                if credit_notes.get(week, {}) != of_week:
                    comparison.read_again([week], _DOCUMENTS)
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
            if comparison.weeks_to_read and not comparison.differences:
                amount = Decimal(len(comparison.weeks_to_read))
                comparison.differences = [
                    FigureDifference("credit notes", "credit notes", "weeks with other figures", amount, ZERO)
                ]
            if stated_invoices != invoices:
                search = Search(compare, self._may_ask)
                unknown = self._leave_out_known(
                    comparison, {("invoices", "count"): Decimal(stated_invoices - invoices)}
                )
                for weeks in search.find(block, unknown):
                    comparison.read_again(weeks, _DOCUMENTS)
            comparison.calls = self._xero.calls - calls_before
            calls_before = self._xero.calls
            comparisons.append(comparison)
        return comparisons

    def _leave_out_known(self, comparison: Comparison, amounts: Mapping[Figure, Decimal]) -> dict[Figure, Decimal]:
        """Leave out what an earlier look has already left over, to the cent."""
        known = self._known.get((comparison.kind, comparison.weeks.first), {})
        return subtract(amounts, {key: known[key] for key in amounts if key in known})

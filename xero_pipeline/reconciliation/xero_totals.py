"""What Xero states about ranges of weeks of one organisation. Each range is asked for once in a look."""

from __future__ import annotations

from decimal import Decimal

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.warehouse.figures.totals import BankTotals
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.readers.bank_summary import AMOUNTS, read_bank_summary
from xero_pipeline.xero.readers.document_state import read_document_state
from xero_pipeline.xero.readers.documents import is_counted
from xero_pipeline.xero.readers.profit_and_loss import read_profit_and_loss
from xero_pipeline.xero.readers.profit_lines import INCOME_CATEGORIES


class XeroTotals:
    """Xero's totals of one organisation, as they are during one look.

    Attributes:
        names: the accounts' names by id, as the reports write them.
    """

    def __init__(self, client: OrganisationClient, *, cash_basis: bool) -> None:
        self._client = client
        self._cash_basis = cash_basis
        self._profit: dict[WeekRange, dict[str, Decimal]] = {}
        self._bank: dict[WeekRange, dict[str, BankTotals]] = {}
        self._invoices: dict[WeekRange, int] = {}
        self.names: dict[str, str] = {}

    @property
    def calls(self) -> int:
        """HTTP attempts that the client has made so far, retries included."""
        return self._client.attempts

    def fetch_profit(self, weeks: WeekRange) -> dict[str, Decimal]:
        """Fetch what each account adds to the profit of these weeks; costs are negative. One call.

        Raises:
            XeroError: Xero did not answer, or its report is not understood.
        """
        if weeks not in self._profit:
            report = self._client.fetch_profit_and_loss(weeks, cash_basis=self._cash_basis)
            figures = read_profit_and_loss(report, week=weeks, accounts=self._client.accounts)
            contributions: dict[str, Decimal] = {}
            for line in figures.lines.to_dict("records"):
                account_id = normalise_id(line["account_id"])
                self.names[account_id] = line["account_name"]
                contributions[account_id] = line["amount"] if line["category"] in INCOME_CATEGORIES else -line["amount"]
            self._profit[weeks] = contributions
        return self._profit[weeks]

    def fetch_bank(self, weeks: WeekRange) -> dict[str, BankTotals]:
        """Fetch each bank account's totals of these weeks. One call.

        Raises:
            XeroError: as for `fetch_profit`.
        """
        if weeks not in self._bank:
            summary = read_bank_summary(self._client.fetch_bank_summary(weeks), week=weeks)
            totals: dict[str, BankTotals] = {}
            for account in summary.accounts.to_dict("records"):
                account_id = normalise_id(account["bank_account_id"])
                self.names[account_id] = account["bank_account_name"]
                totals[account_id] = BankTotals(**{name: account[name] for name in AMOUNTS})
            self._bank[weeks] = totals
        return self._bank[weeks]

    def count_invoices(self, weeks: WeekRange) -> int:
        """Ask how many invoices are counted in these weeks. One call, if the server counts its pages."""
        if weeks not in self._invoices:
            count = self._client.count_invoices(weeks)
            self._invoices[weeks] = len(self._client.fetch_invoices(weeks)) if count is None else count
        return self._invoices[weeks]

    def fetch_credit_notes(self, weeks: WeekRange) -> tuple[dict[Week, dict[str, str]], set[str]]:
        """List the credit notes of these weeks: a call for each 1,000.

        Returns:
            The counted ones, each week's keys with the fingerprints of their figures, and the keys of all of them.
        """
        counted: dict[Week, dict[str, str]] = {}
        keys = set()
        for document in self._client.fetch_credit_notes(weeks):
            state = read_document_state(document)
            keys.add(normalise_id(state.key))
            if is_counted(document):
                counted.setdefault(state.week, {})[normalise_id(state.key)] = state.figures
        return counted, keys

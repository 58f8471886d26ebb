"""A plain loop over xero-python, as its README sets it up: invoices and credit notes into SQLite, then one report.

`python load_with_xero_python.py URL TENANT FIRST END FILE` lists the documents of the days from FIRST up to END, END
excluded. The line that it prints is JSON; `seconds_of_reports` are what trying a report took afterwards.
"""

import json
import sqlite3
import sys
import time
from datetime import date, timedelta

began = time.perf_counter()
from xero_python.accounting import AccountingApi  # noqa: E402
from xero_python.api_client import ApiClient  # noqa: E402
from xero_python.api_client.configuration import Configuration  # noqa: E402
from xero_python.api_client.oauth2 import OAuth2Token  # noqa: E402

url, tenant = sys.argv[1:3]
first, end = (date.fromisoformat(day) for day in sys.argv[3:5])
TOKEN = {
    "access_token": "a" * 40,
    "refresh_token": "refresh",
    "expires_in": 1800,
    "expires_at": time.time() + 1800,
    "token_type": "Bearer",
    "scope": ["accounting.transactions.read", "accounting.reports.read"],
}
api_client = ApiClient(Configuration(oauth2_token=OAuth2Token(client_id="app", client_secret="app-secret")))  # noqa: S106


@api_client.oauth2_token_getter
def get_token() -> dict:
    return TOKEN


@api_client.oauth2_token_saver
def save_token(token: dict) -> None:
    TOKEN.update(token)


api = AccountingApi(api_client, base_url=f"{url}/api.xro/2.0")
database = sqlite3.connect(sys.argv[5])
database.execute("CREATE TABLE documents (id TEXT PRIMARY KEY, kind TEXT, day TEXT, status TEXT, total TEXT)")
database.execute("CREATE TABLE lines (document TEXT, account TEXT, amount TEXT, tracking TEXT)")
where = f"Date>=DateTime({first:%Y, %m, %d}) AND Date<DateTime({end:%Y, %m, %d})"
amounts = set()
for list_page, name, key in (
    (api.get_invoices, "invoices", "invoice_id"),
    (api.get_credit_notes, "credit_notes", "credit_note_id"),
):
    page = 1
    while True:
        order = f"{key.title().replace('_', '').replace('Id', 'ID')} ASC"
        documents = getattr(list_page(tenant, where=where, order=order, page=page, page_size=1000), name)
        for document in documents:
            number = getattr(document, key)
            row = (number, document.type, str(document.date), document.status, str(document.total))
            database.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)", row)
            for line in document.line_items:
                amounts.add(type(line.line_amount).__name__)
                tracking = ",".join(str(category.option) for category in line.tracking)
                row = (number, line.account_code, str(line.line_amount), tracking)
                database.execute("INSERT INTO lines VALUES (?, ?, ?, ?)", row)
        database.commit()
        if len(documents) < 1000:
            break
        page += 1
ended = time.perf_counter()
profit = api.get_report_profit_and_loss(tenant, from_date=first, to_date=first + timedelta(days=6)).reports[0]
bank = api.get_report_bank_summary(tenant, from_date=first, to_date=first + timedelta(days=6)).reports[0]
kinds = {type(cell.value).__name__ for report in (profit, bank) for row in report.rows[1].rows for cell in row.cells}
print(
    json.dumps(
        {
            "seconds_of_reports": time.perf_counter() - ended,
            "documents": database.execute("SELECT count(*) FROM documents").fetchone()[0],
            "amounts": ", ".join(sorted(amounts)),
            "reports": f"no: rows of cells, values as {', '.join(sorted(kinds))}; reading them is left to you",
        }
    )
)

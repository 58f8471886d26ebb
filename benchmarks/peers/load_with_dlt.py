"""dlt's `rest_api` source, as its documentation sets it up: invoices and credit notes into DuckDB, then one report.

`python load_with_dlt.py URL TENANT FIRST END` lists the documents of the days from FIRST up to END, END excluded. The
line that it prints is JSON; `seconds_of_reports` are what trying a report took afterwards.
"""

import json
import sys
import time
from datetime import date

began = time.perf_counter()
import dlt  # noqa: E402
from dlt.sources.rest_api import rest_api_source  # noqa: E402

url, tenant = sys.argv[1:3]
first, end = (date.fromisoformat(day) for day in sys.argv[3:5])
CLIENT = {
    "base_url": f"{url}/api.xro/2.0/",
    "auth": {"type": "bearer", "token": "a" * 40},
    "headers": {"xero-tenant-id": tenant, "Accept": "application/json"},
}
PAGES = {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": "pagination.pageCount"}


def describe_list(name: str, path: str, key: str) -> dict:
    where = f"Date>=DateTime({first:%Y, %m, %d}) AND Date<DateTime({end:%Y, %m, %d})"
    params = {"where": where, "order": f"{key} ASC", "pageSize": 1000}
    return {
        "name": name,
        "primary_key": key,
        "write_disposition": "merge",
        "endpoint": {"path": path, "data_selector": path, "params": params, "paginator": PAGES},
    }


def describe_report(name: str, path: str) -> dict:
    params = {"fromDate": first.isoformat(), "toDate": end.isoformat()}
    return {
        "name": name,
        "endpoint": {"path": path, "data_selector": "Reports", "params": params, "paginator": "single_page"},
    }


def load(*resources: dict) -> None:
    pipeline.run(rest_api_source({"client": CLIENT, "resources": list(resources)}))


pipeline = dlt.pipeline("rest_api_xero", destination="duckdb", dataset_name="xero_data", pipelines_dir="pipelines")
load(describe_list("invoices", "Invoices", "InvoiceID"), describe_list("credit_notes", "CreditNotes", "CreditNoteID"))
ended = time.perf_counter()
load(
    describe_report("profit_and_loss", "Reports/ProfitAndLoss"), describe_report("bank_summary", "Reports/BankSummary")
)
with pipeline.sql_client() as sql:
    documents = sum(sql.execute_sql(f"SELECT count(*) FROM {name}")[0][0] for name in ("invoices", "credit_notes"))  # noqa: S608
    tables = [name for (name,) in sql.execute_sql("SELECT DISTINCT table_name FROM information_schema.tables")]
    columns = "SELECT data_type FROM information_schema.columns WHERE table_name = %s AND column_name = %s"
    amount = sql.execute_sql(columns, "invoices__line_items", "line_amount")[0][0]
    cell = sql.execute_sql(columns, "profit_and_loss__rows__rows__cells", "value")[0][0]
reports = [name for name in tables if name.startswith(("profit_and_loss", "bank_summary"))]
print(
    json.dumps(
        {
            "seconds_of_reports": time.perf_counter() - ended,
            "documents": documents,
            "amounts": amount,
            "reports": f"no: {len(reports)} nested tables, values as {cell}, one resource written for each week",
        }
    )
)

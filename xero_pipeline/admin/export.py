"""The route of the download: a table of figures as CSV, or tables as one workbook."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, BinaryIO, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from xero_pipeline.admin.api_models import IsoDate
from xero_pipeline.admin.context import AdminContextDep, VisitorDep
from xero_pipeline.admin.error_responses import BadRequest, document_errors
from xero_pipeline.admin.sync import TenantId
from xero_pipeline.export.exporter import ExportFormat, choose_tables, export_to_file
from xero_pipeline.warehouse.access.audit_log import AuditAction
from xero_pipeline.warehouse.figures.exporting import ExportFilter

router = APIRouter(tags=["figures"])

_MEDIA_TYPES = {
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_CHUNK_BYTES = 64 * 1024
# Each export takes one of the threads that answer requests, and a processor.
_MOST_AT_ONCE = 2
_places = threading.BoundedSemaphore(_MOST_AT_ONCE)


@router.get(
    "/export",
    response_class=Response,
    responses=document_errors(404)
    | {
        200: {
            "description": "The file, complete.",
            "content": {media.split(";")[0]: {"schema": {"type": "string"}} for media in _MEDIA_TYPES.values()},
        }
    },
)
def export(
    context: AdminContextDep,
    visitor: VisitorDep,
    kind: Annotated[Literal["csv", "xlsx"], Query(alias="format")],
    table: Annotated[
        str | None, Query(max_length=100, description="One table or view; a workbook without it has all of them.")
    ] = None,
    first: Annotated[
        IsoDate | None, Query(alias="from", description="Only weeks and months that end on that day or later.")
    ] = None,
    last: Annotated[
        IsoDate | None, Query(alias="to", description="Only weeks and months that end on that day or earlier.")
    ] = None,
    tenant_id: TenantId = None,
) -> Response:
    """Figures as a file to download: one table as CSV, or one or all of them as an Excel workbook.

    In CSV, a text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    if kind == "csv" and not table:
        raise BadRequest("table: a CSV file holds one table; name it, or choose xlsx.")
    if first is not None and last is not None and first > last:
        raise BadRequest("from: it is later than to.")
    context.require_tenant(tenant_id)
    chosen, form = choose_tables({table} if table else ()), ExportFormat(kind)
    # The file is written before the first byte is sent: an error is a status, and never half a file. It has no name, so
    # nobody else can open it, and it is gone when this process is.
    file = tempfile.TemporaryFile(prefix="xero-export-")  # noqa: SIM115 - closed when it has been sent
    try:
        with _take_place(), context.trail.recording(visitor.actor, AuditAction.EXPORT, f"{table or 'all'} as {kind}"):
            engine = context.deployment.warehouse.engine
            export_to_file(engine, file, form, chosen, ExportFilter(first, last, tenant_id))
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    day = context.clock.now().astimezone(context.settings.calendar.timezone).date()
    # Both parts of the name are our own: the name of a table, and the day.
    name = f"{table or 'xero-figures'}-{day.isoformat()}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size)}
    return StreamingResponse(_read_chunks(file), media_type=_MEDIA_TYPES[form], headers=headers)


@contextmanager
def _take_place() -> Iterator[None]:
    if not _places.acquire(blocking=False):
        raise BadRequest("Two exports are under way; try again in a moment.", code="busy", status=429)
    try:
        yield
    finally:
        _places.release()


def _read_chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk

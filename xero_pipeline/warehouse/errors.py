"""The warehouse's errors. Each says what a person can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xero_pipeline.errors import PipelineError

if TYPE_CHECKING:
    from xero_pipeline.warehouse.logs.sync_log import LogEntry


class WarehouseError(PipelineError):
    """The base class of the warehouse's errors."""

    code = "warehouse_error"


class NotMigrated(WarehouseError):
    code = "not_migrated"
    default_advice = "Bring it to the newest schema with `xero-pipeline migrate`."


class DatabaseUnavailable(WarehouseError):
    code = "database_unavailable"
    default_advice = "Check DATABASE_URL, and that the server runs."


class UnknownOrganisation(WarehouseError):
    code = "unknown_organisation"
    default_advice = "`xero-pipeline status` lists the connected organisations."


class NotDecryptable(WarehouseError):
    """No configured key decrypts a stored value. The message never contains the value."""

    code = "not_decryptable"
    default_advice = (
        "If XERO_ENCRYPTION_KEY was changed, put the old key into XERO_ENCRYPTION_KEYS_RETIRED; "
        "otherwise connect again."
    )


class LockTimeout(WarehouseError):
    """Another process did not free a lock in time."""

    code = "lock_timeout"
    default_advice = "Another process of this deployment is busy or stuck; try again when it has finished."


class Superseded(WarehouseError):
    """A sync that began later has already landed the same week, so these older figures were not written.

    Attributes:
        log_id: the row of the sync that was overtaken.
        newer: the row of the sync that has landed the week.
    """

    code = "superseded"
    default_advice = "Nothing to do: the newer figures stay."

    def __init__(self, what: str, *, log_id: int, newer: LogEntry) -> None:
        super().__init__(what)
        self.log_id = log_id
        self.newer = newer


class WrongFrame(WarehouseError):
    """The figures to be written do not match the table's columns, keys or types. Nothing was written."""

    code = "wrong_frame"
    default_advice = "This is a defect of the pipeline, not an error in the books."

"""Every way the warehouse can fail, with what to do about it."""

from __future__ import annotations

from xero_pipeline.errors import PipelineError


class WarehouseError(PipelineError):
    """Base of all."""

    code = "warehouse_error"


class NotMigrated(WarehouseError):
    code = "not_migrated"
    default_advice = "Bring it to the newest schema with `xero-pipeline migrate`."


class DatabaseUnavailable(WarehouseError):
    code = "database_unavailable"
    default_advice = "Check DATABASE_URL, and that the server runs."


class UnknownOrganisation(WarehouseError):
    code = "unknown_organisation"
    default_advice = "`xero-pipeline status` lists the connected ones."


class NotDecryptable(WarehouseError):
    """A value that the keys at hand do not open; never says which value."""

    code = "not_decryptable"
    default_advice = (
        "If XERO_ENCRYPTION_KEY was changed, put the old key into XERO_ENCRYPTION_KEYS_RETIRED; "
        "otherwise connect again."
    )


class LockTimeout(WarehouseError):
    """Somebody else has held a lock for too long."""

    code = "lock_timeout"
    default_advice = "Another process of this deployment is busy or hangs; try again when it is done."


class Superseded(WarehouseError):
    """Figures that another process has read and written anew meanwhile; the older ones were not written."""

    code = "superseded"
    default_advice = "Nothing needs to be done: the newer figures stay."


class WrongFrame(WarehouseError):
    """Figures that were handed in do not have the shape that the table needs; nothing was written."""

    code = "wrong_frame"
    default_advice = "This is a defect of the pipeline, not of the books."

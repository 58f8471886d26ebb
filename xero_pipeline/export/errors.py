"""Why figures could not be exported."""

from __future__ import annotations

from xero_pipeline.errors import PipelineError


class ExportFailed(PipelineError):
    """No file was written, and those of an earlier export stay as they were."""

    code = "export_failed"
    default_advice = "Nothing was written."

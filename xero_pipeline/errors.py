"""The base class of every error that a person can do something about.

Each area has its own tree: `xero/errors.py` for Xero, `warehouse/errors.py` for the database, `settings/` for the
settings. Code that talks to a person (the command line, the admin page, an alert) catches `PipelineError` and needs
no other class.
"""

from __future__ import annotations

from typing import ClassVar


class PipelineError(Exception):
    """An error that says what happened and what to do about it.

    The text is one line. It holds no secret, no token and no figure from the books.
    """

    code: ClassVar[str] = "error"
    """A short, stable name for programs that read the error."""

    default_advice: ClassVar[str] = ""

    def __init__(self, what: str, *, advice: str | None = None) -> None:
        self.what = " ".join(what.split())
        self.advice = " ".join((self.default_advice if advice is None else advice).split())
        super().__init__(self.what)

    def __str__(self) -> str:
        return f"{self.what} {self.advice}".strip()

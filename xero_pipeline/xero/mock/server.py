"""The mock over HTTP: an ASGI app, and uvicorn for the command `xero-pipeline mock-xero`."""

from __future__ import annotations

from starlette.applications import Starlette

from xero_pipeline.xero.mock.xero import MockXero


def mock_app(mock: MockXero) -> Starlette:
    """An ASGI app, by itself or mounted under a prefix (`app.mount("/mock-xero", mock_app(mock))`)."""
    raise NotImplementedError


def serve(mock: MockXero, *, host: str = "127.0.0.1", port: int = 3002) -> None:
    """Serve until Ctrl-C."""
    raise NotImplementedError

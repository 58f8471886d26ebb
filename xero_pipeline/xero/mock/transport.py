"""The mock as a `requests` transport: what stands where the network would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from xero_pipeline.xero.mock.xero import MockXero


class MockTransport(BaseAdapter):
    """Carries a request to a `MockXero`, whatever its host."""

    def __init__(self, mock: MockXero) -> None:
        super().__init__()
        self._mock = mock

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held open."""

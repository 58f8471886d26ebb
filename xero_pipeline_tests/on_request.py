"""Tests that take long and rarely fail alone: the nightly job runs them, and `LONG=full make test`."""

import os

import pytest

IS_FULL = os.environ.get("LONG") == "full"
only_on_request = pytest.mark.skipif(not IS_FULL, reason="LONG=full runs it")

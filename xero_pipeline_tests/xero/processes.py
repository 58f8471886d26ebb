"""Many processes of one deployment at once, cheaply: a parent that has imported everything forks them.

`Processes` is the test's side. As a program (`python -m`), this is the parent: it reads a line of JSON for each
process to start, forks, and writes its number; for each number it is asked about, how that process ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import xero_pipeline

ROOT = Path(xero_pipeline.__file__).parent.parent
_PATIENCE = 60.0


class Processes:
    """Starts processes that work on one deployment, and says how each ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Processes:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OPENBLAS_NUM_THREADS": "1"},
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait(_PATIENCE)
        self._parent.stdout.close()

    def start(self, task: str, settings: Mapping[str, str], **more: Any) -> int:
        """Start one; answers its process id."""
        return int(self._ask({"task": task, "settings": dict(settings), **more}))

    def outcome(self, pid: int) -> str:
        """Wait for it to end: `ok`, what went wrong in a line, or the signal that ended it."""
        return str(self._ask({"wait": pid}))

    def _ask(self, question: Mapping[str, Any]) -> Any:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(question) + "\n")
        self._parent.stdin.flush()
        return json.loads(self._parent.stdout.readline())


def appears(file: Path) -> None:
    """Wait until another process has made that file."""
    until = time.monotonic() + _PATIENCE
    while not file.exists():
        assert time.monotonic() < until, f"{file.name} did not appear"
        time.sleep(0.02)


def kill(pid: int) -> None:
    """End it with no chance to tidy up."""
    os.kill(pid, signal.SIGKILL)


# ---- the parent, and what its children do -----------------------------------------------------------------


def _serve() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        answer = _wait(asked["wait"]) if "wait" in asked else _fork(asked)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _fork(asked: Mapping[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    # The child: its own end, whatever happens.
    said = _said(os.getpid())
    try:
        TASKS[asked["task"]](asked)
        said.write_text("ok")
    except BaseException as error:  # noqa: BLE001 - it is told to the test
        said.write_text(f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)


def _wait(pid: int) -> str:
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return _said(pid).read_text()


def _said(pid: int) -> Path:
    return Path(f"outcome-{pid}.txt")


def _open(asked: Mapping[str, Any]) -> Any:
    from xero_pipeline.resources import Deployment
    from xero_pipeline.settings import load_settings

    return Deployment(load_settings(**asked["settings"]))


def _call_every_organisation(asked: Mapping[str, Any]) -> None:
    """Read every organisation's accounts, as each sync does."""
    with _open(asked) as deployment:
        for organisation in deployment.xero.organisations():
            assert organisation.accounts


def _stand_still(asked: Mapping[str, Any]) -> None:
    """Begin a refresh, say when its point is reached, and stand still there, the lock in hand."""
    from sqlalchemy import event

    def stop(*_: object, **__: object) -> None:
        Path(asked["marker"]).touch()
        signal.pause()

    with _open(asked) as deployment:
        sign_in, point = deployment.sign_in, asked["point"]
        refresh = sign_in.refresh
        if point == "before the request":
            sign_in.refresh = stop
        elif point == "after the request":
            sign_in.refresh = lambda tokens: stop(refresh(tokens))
        elif point == "before the commit":
            # From here on the only transaction that writes is the one that saves the new pair.
            def refresh_and_watch(tokens: Any) -> Any:
                fresh = refresh(tokens)
                event.listen(deployment.warehouse.engine, "commit", stop)
                return fresh

            sign_in.refresh = refresh_and_watch
        deployment.access_tokens.current(deployment.xero.organisations()[0].tenant_id)


TASKS = {"call": _call_every_organisation, "stand still": _stand_still}

if __name__ == "__main__":
    # Everything that the children need, imported once.
    import xero_pipeline.resources

    _serve()

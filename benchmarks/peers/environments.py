"""An environment for each peer, in `.bench/`, built from its pinned requirements and kept until these change.

The requirements name packages and versions only; where pip gets them is the machine's matter.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from benchmarks.deployments import REPOSITORY
from benchmarks.processes import run_measured

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = REPOSITORY / ".bench"


def build(name: str) -> Path:
    """Build the environment of `NAME.txt` if it is not there yet. Returns its folder of commands.

    Raises:
        MeasuredCommandError: it could not be installed; the text has pip's last lines.
    """
    requirements, folder = HERE / f"{name}.txt", ENVIRONMENTS / name
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        environment = dict(os.environ) | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "-r", str(requirements)],
        ):
            run_measured(command, folder=REPOSITORY, environment=environment, timeout=300)
        ready.write_text(wanted)
    return folder / "bin"


def read_version(name: str, package: str) -> str:
    """The version of a package that the requirements pin."""
    lines = (line.partition("==") for line in (HERE / f"{name}.txt").read_text().splitlines())
    return next(version.split()[0] for found, _, version in lines if found.replace("_", "-") == package)

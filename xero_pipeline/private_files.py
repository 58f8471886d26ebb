"""Keeps a deployment's files to its owner: mode 0600, folders 0700, whatever umask the user has.

Dagster's history holds each week's figures, and the compute logs the names of organisations; Dagster creates both with
the umask of the process.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

PRIVATE_UMASK = 0o077
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def create_private_files() -> None:
    """Let this process, and those that it starts, create files that only their owner can open."""
    os.umask(PRIVATE_UMASK)


def close_to_others(folder: Path, *files: Path) -> int:
    """Take group's and others' rights from a folder, everything in it, and further files. Returns how many had any.

    Symbolic links are not followed. What belongs to another user stays as it is.
    """
    changed = 0
    for path in (*_walk(folder), *files):
        with contextlib.suppress(OSError):
            mode = path.lstat().st_mode
            if mode & _OTHERS and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
                changed += 1
    return changed


def is_open_to_others(path: Path) -> bool:
    """Whether a file or folder exists and gives its group or others any right."""
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except OSError:
        return False


def _walk(folder: Path) -> Iterator[Path]:
    """A folder and all that is in it. The outermost comes first: from then on nobody else reaches the rest."""
    yield folder
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(root, name)

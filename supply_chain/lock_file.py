"""Reads a lock file that `make lock` wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK_FILE = ROOT / "requirements.lock"

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>\S+)(?:\s*;\s*(?P<marker>.+))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class LockedPackage:
    name: str
    """Normalised: lower case, with `-` for `_` and `.` (PEP 503)."""
    version: str
    marker: str | None
    """On which machines it is installed (PEP 508); `None` on all."""
    hashes: tuple[str, ...]
    """The SHA-256 of each file that may be installed: a wheel for each kind of machine, and the source."""


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock_file(file: Path = LOCK_FILE) -> list[LockedPackage]:
    """Read every package of a lock file, by name.

    Raises:
        ValueError: a line is neither a package with a version nor a hash. Then a package would be missing.
    """
    packages = []
    for line in file.read_text().replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = re.sub(r"\s*--hash=\S+", "", line).strip()
        match = _REQUIREMENT.fullmatch(requirement)
        hashes = tuple(sorted(_HASH.findall(line)))
        if match is None or not hashes:
            raise ValueError(f"{file.name}: this line is not a package with a version and a hash: {requirement}")
        packages.append(LockedPackage(normalise(match["name"]), match["version"], match["marker"], hashes))
    return sorted(packages, key=lambda package: (package.name, package.version))

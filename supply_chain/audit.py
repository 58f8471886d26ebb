"""`make audit`: compares the locked dependencies with known vulnerabilities, by pip-audit.

Ends with 1 if one is known. Where no source of advisories can be reached it says that nothing was checked, and ends
with 0: pip-audit itself reports such packages as "not found" and ends as if all were well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from supply_chain.lock_file import LOCK_FILE, read_lock_file

# By pip-audit's names: the advisories of the package index, and the open vulnerability database.
SOURCES = ("pypi", "osv")
SKIPPED = "skipped: no source of advisories can be reached from here, so no dependency was checked"


@dataclass
class AuditResult:
    checked: set[str] = field(default_factory=set)
    vulnerable: dict[str, list[str]] = field(default_factory=dict)
    """By package and version: each advisory, with the versions that mend it."""


def audit(lock_file: Path = LOCK_FILE, options: Sequence[str] = (), sources: Sequence[str] = SOURCES) -> AuditResult:
    """Ask the first source that answers.

    Args:
        options: further options of pip-audit.
    """
    result = AuditResult()
    for source in sources:
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
        command += ["--format=json", "--vulnerability-service", source, "--requirement", str(lock_file), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        result = _read_report(done.stdout)
        if result.checked:
            break
    return result


def _read_report(report: str) -> AuditResult:
    result = AuditResult()
    try:
        dependencies = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        # It wrote an error in place of a report: the source did not answer.
        return result
    for dependency in dependencies:
        if "skip_reason" in dependency:
            continue
        result.checked.add(dependency["name"])
        if dependency["vulns"]:
            result.vulnerable[f"{dependency['name']} {dependency['version']}"] = [
                f"{one['id']}, mended in {', '.join(one['fix_versions']) or 'no version yet'}"
                for one in dependency["vulns"]
            ]
    return result


def print_result(result: AuditResult, names: Sequence[str]) -> int:
    """Print what was found, and return the exit status."""
    if not result.checked:
        sys.stdout.write(f"{SKIPPED}\n")
        return 0
    for package, advisories in result.vulnerable.items():
        sys.stdout.write(f"{package}: {'; '.join(advisories)}\n")
    unchecked = [name for name in names if name not in result.checked]
    if unchecked:
        sys.stdout.write(f"not checked: {', '.join(unchecked)}\n")
    sys.stdout.write(f"checked {len(result.checked)} packages: {len(result.vulnerable)} with a known vulnerability\n")
    return 1 if result.vulnerable else 0


if __name__ == "__main__":
    sys.exit(print_result(audit(), [package.name for package in read_lock_file()]))

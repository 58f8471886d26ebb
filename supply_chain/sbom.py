"""`make sbom`: the bill of materials as CycloneDX JSON, from `requirements.lock`.

The same lock file gives the same bytes: there is no time in it, and its serial number is made from its content.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

from supply_chain.lock_file import LOCK_FILE, ROOT, LockedPackage, normalise, read_lock_file

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/xero-pipeline")


def build_sbom(lock_file: Path = LOCK_FILE, project_file: Path = ROOT / "pyproject.toml") -> str:
    """Build the bill of materials: this package, what it names itself, and everything that is installed with it."""
    project = tomllib.loads(project_file.read_text())["project"]
    packages = read_lock_file(lock_file)
    root = f"pkg:pypi/{project['name']}@{project['version']}"
    direct = {_read_name(requirement) for requirement in project["dependencies"]}
    direct |= {_read_name(requirement) for requirement in project["optional-dependencies"]["postgres"]}
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": project["name"],
                "version": project["version"],
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
                "purl": root,
            }
        },
        "components": [_describe(package) for package in packages],
        # Of the others the lock file does not say which needs which.
        "dependencies": [
            {"ref": root, "dependsOn": sorted(_purl(package) for package in packages if package.name in direct)}
        ],
    }
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(_NAMESPACE, content)}"
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _describe(package: LockedPackage) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "version": package.version,
        "purl": _purl(package),
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
    }
    if package.marker:
        component["properties"] = [{"name": "xero-pipeline:marker", "value": package.marker}]
    return component


def _purl(package: LockedPackage) -> str:
    # A purl writes the + of a local version as %2B.
    return f"pkg:pypi/{package.name}@{package.version.replace('+', '%2B')}"


def _read_name(requirement: str) -> str:
    return normalise(re.split(r"[\[<>=~!; ]", requirement, maxsplit=1)[0])


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(build_sbom())
    sys.stdout.write(f"wrote {file}\n")

"""The dependencies: their lower bounds, the bill of materials, and what is known of them; the services of systemd."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from supply_chain import audit as auditing
from supply_chain.audit import AuditResult, audit, print_result
from supply_chain.lock_file import read_lock_file
from supply_chain.sbom import build_sbom
from xero_pipeline_tests.servers import Answer, ScriptedServer, SeenRequest

ROOT = Path(__file__).parent.parent
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
# The first version of each without a known hole, in November 2026.
FIRST_SOUND = {"starlette": (1, 0, 1), "cryptography": (50, 0, 0), "urllib3": (2, 7, 0), "jinja2": (3, 1, 6)}


def read_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


@pytest.mark.parametrize(("name", "first_sound"), FIRST_SOUND.items())
def test_no_version_with_a_known_hole_can_be_installed(name: str, first_sound: tuple[int, ...]) -> None:
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (requirement,) = [one for one in requirements if re.match(rf"{name}\b", one)]
    bound = re.search(r">=([\d.]+)", requirement)
    assert bound
    assert read_version(bound[1]) >= first_sound
    for file in ("requirements.lock", "requirements-dev.lock"):
        versions = {package.name: package.version for package in read_lock_file(ROOT / file)}
        assert read_version(versions[name]) >= first_sound


# ---- the bill of materials ----------------------------------------------------------------------------------


def test_the_bill_of_materials_lists_what_is_locked_and_is_the_same_each_time() -> None:
    text = build_sbom()
    assert text == build_sbom()
    document = json.loads(text)
    pinned = re.findall(
        r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    assert len(pinned) > 50
    assert {(one["name"], one["version"]) for one in document["components"]} == {
        (name.replace("_", "-").replace(".", "-"), version) for name, version in pinned
    }
    assert all(one["hashes"] for one in document["components"])
    (root,) = document["dependencies"]
    assert any(purl.startswith("pkg:pypi/dagster@") for purl in root["dependsOn"])
    assert not any(purl.startswith("pkg:pypi/pytest@") for purl in root["dependsOn"])


def test_the_bill_of_materials_is_valid_cyclonedx() -> None:
    jsonschema_rs = pytest.importorskip("jsonschema_rs")
    schemas = files("cyclonedx") / "schema" / "_res"

    def load(name: str) -> Any:
        return json.loads((schemas / name).read_text())

    names = ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    registry = jsonschema_rs.Registry([(f"http://cyclonedx.org/schema/{name}", load(name)) for name in names])
    validator = jsonschema_rs.validator_for(load("bom-1.6.SNAPSHOT.schema.json"), registry=registry)
    assert [error.message for error in validator.iter_errors(json.loads(build_sbom()))] == []


def test_another_lock_file_gives_another_bill_of_materials(tmp_path: Path) -> None:
    other = tmp_path / "other.lock"
    other.write_text(f"some_package[extra]==1.0+local \\\n    --hash=sha256:{'a' * 64}\n")
    document = json.loads(build_sbom(other))
    (component,) = document["components"]
    assert component["purl"] == "pkg:pypi/some-package@1.0%2Blocal"
    assert document["serialNumber"] != json.loads(build_sbom())["serialNumber"]


def test_a_lock_file_that_is_not_understood_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.lock").write_text("-e ./somewhere\n")
    with pytest.raises(ValueError, match="not a package with a version and a hash"):
        read_lock_file(tmp_path / "odd.lock")


# ---- known vulnerabilities ----------------------------------------------------------------------------------


def answer_as_osv(request: SeenRequest) -> Answer:
    asked = json.loads(request.body)
    if asked["package"]["name"] != "weak":
        return Answer(200, json={})
    affected = {
        "package": {"ecosystem": "PyPI", "name": "weak"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.2"}]}],
    }
    vulnerability = {
        "id": "TEST-2026-1",
        "modified": "2026-01-01T00:00:00Z",
        "published": "2026-01-01T00:00:00Z",
        "summary": "it lets everybody in",
        "affected": [affected],
    }
    return Answer(200, json={"vulns": [vulnerability]})


def test_a_dependency_with_a_known_vulnerability_fails_the_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pip_audit")
    lock_file = tmp_path / "some.lock"
    lock_file.write_text("".join(f"{name}==1.0 --hash=sha256:{'a' * 64}\n" for name in ("weak", "sound")))
    with ScriptedServer(answer_as_osv) as server:
        result = audit(lock_file, options=["--osv-url", f"{server.url}/v1/query"], sources=["osv"])
    assert print_result(result, ["weak", "sound"]) == 1
    said = capsys.readouterr().out
    assert "weak 1.0: TEST-2026-1, mended in 1.2" in said
    assert "checked 2 packages: 1 with a known vulnerability" in said


def test_without_a_source_of_advisories_the_audit_says_that_it_checked_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pip_audit")
    lock_file = tmp_path / "some.lock"
    lock_file.write_text(f"weak==1.0 --hash=sha256:{'a' * 64}\n")
    result = audit(lock_file, options=["--osv-url", "http://127.0.0.1:9/v1/query"], sources=["osv"])
    assert print_result(result, ["weak"]) == 0
    assert capsys.readouterr().out == f"{auditing.SKIPPED}\n"


def test_what_was_not_checked_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_result(AuditResult(checked={"a"}), ["a", "b"]) == 0
    assert "not checked: b\n" in capsys.readouterr().out


# ---- systemd ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_service_is_exposed_by_3_0_at_most(unit: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    analysed = subprocess.run(
        [tool, "security", "--offline=true", "--no-pager", str(unit)], capture_output=True, text=True, check=False
    )
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", analysed.stdout)
    if level is None:
        pytest.skip(f"this systemd-analyze rates no files: {analysed.stderr[:200]}")
    assert float(level[1]) <= 3.0, analysed.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_service_keeps_its_files_to_itself(unit: Path) -> None:
    assert "\nUMask=0077\n" in unit.read_text()

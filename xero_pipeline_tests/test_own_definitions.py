"""The example project: the pipeline's assets in somebody's own `Definitions`, under a prefix."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

from xero_pipeline.connection import ConnectionService
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline_tests.migrated import make_tables

EXAMPLE = Path(__file__).parent.parent / "examples" / "own_definitions" / "definitions.py"
TAGS = '{"dagster/partition": "2026-11-15"}'


def test_a_project_of_ones_own_loads_the_assets_under_its_prefix_and_syncs_a_week(tmp_path: Path) -> None:
    settings = {"XERO_MOCK_MODE": "true", "XERO_ENCRYPTION_KEY": "5e" * 32, "DAGSTER_HOME": str(tmp_path)}
    shutil.copy(EXAMPLE, tmp_path)
    with Deployment(load_settings(**settings)) as deployment:
        tmp_path.joinpath("data").mkdir(exist_ok=True)
        make_tables(deployment.warehouse.engine)
        (organisation,) = ConnectionService(deployment).connect_mock()
        environment = os.environ | settings | {"PYTHONWARNINGS": "ignore"}
        command = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-f", EXAMPLE.name]
        done = subprocess.run(
            [*command, "-j", "sync_the_books", "--tags", TAGS],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        landed = deployment.warehouse.log.list_landed_weeks(organisation.tenant_id, date(2026, 1, 1))
    assert [len(weeks) for weeks in landed.values()] == [1, 1, 1]
    for table in ("financial_weekly", "revenue_weekly", "cash_position_weekly"):
        assert f"on 'xero/{table}' passed" in done.stderr + done.stdout

"""The one module for Dagster's private names: each still exists, and no other module imports one."""

import ast
import importlib
from pathlib import Path

import dagster as dg
import pytest

import xero_pipeline
from xero_pipeline.dagster_internals import list_assets_of_process
from xero_pipeline_tests.private_imports import is_private, private_imports

PACKAGE = Path(xero_pipeline.__file__).parent
INTERNALS = PACKAGE / "dagster_internals.py"
TESTS = Path(__file__).parent
TEST_INTERNALS = TESTS / "dagster_internals.py"


@pytest.mark.parametrize(("module", "name"), sorted({*private_imports(INTERNALS), *private_imports(TEST_INTERNALS)}))
def test_dagster_still_has_each_private_name_where_we_import_it(module: str, name: str) -> None:
    moved = f"Dagster has moved {module}.{name}: find its new place, or a public way, and change dagster_internals.py."
    try:
        assert hasattr(importlib.import_module(module), name), moved
    except ModuleNotFoundError:
        pytest.fail(moved)


def test_no_other_module_imports_a_private_name_of_dagster() -> None:
    found = {
        str(file.relative_to(PACKAGE.parent)): imports
        for root in (PACKAGE, TESTS)
        for file in root.rglob("*.py")
        if file not in (INTERNALS, TEST_INTERNALS) and (imports := private_imports(file))
    }
    assert found == {}


def test_each_private_name_has_its_reason_above_it() -> None:
    lines = [line.strip() for line in INTERNALS.read_text().splitlines()]
    reasons = [number for number, line in enumerate(lines) if line.startswith("# ")]
    for node in ast.walk(ast.parse(INTERNALS.read_text())):
        if isinstance(node, ast.ImportFrom) and is_private(node.module or ""):
            above = node.lineno - 2
            while lines[above].startswith("from "):
                above -= 1
            assert above in reasons, f"line {node.lineno} of dagster_internals.py has no comment that says why"


def build_job_of_two_assets(executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    def build(name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name, key_prefix="books")
        def table(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            found = list_assets_of_process(context)
            return dg.MaterializeResult(metadata={"found": {key.to_user_string(): op for key, op in found.items()}})

        return table

    assets = [build("first"), build("second")]
    job = dg.define_asset_job("both", assets)
    return dg.Definitions(assets=assets, jobs=[job], executor=executor).resolve_job_def("both")


def build_job_of_two_processes() -> dg.JobDefinition:
    return build_job_of_two_assets(dg.multiprocess_executor)


def read_found(result: dg.JobExecutionResult | dg.ExecuteInProcessResult) -> list[set[str]]:
    events = result.get_asset_materialization_events()
    return [set(event.materialization.metadata["found"].value) for event in events]


def test_the_assets_of_this_process_are_all_with_one_process_and_one_with_a_process_for_each(tmp_path: Path) -> None:
    both = {"books/first", "books/second"}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        together = build_job_of_two_assets(dg.in_process_executor).execute_in_process(instance=instance)
        assert read_found(together) == [both, both]
        apart = dg.execute_job(dg.reconstructable(build_job_of_two_processes), instance)
        assert apart.success
        assert sorted(read_found(apart), key=sorted) == [{"books/first"}, {"books/second"}]

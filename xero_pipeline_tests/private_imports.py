"""Which private names of Dagster a module imports."""

import ast
from pathlib import Path


def is_private(module: str) -> bool:
    """Whether Dagster does not document the module as public: `dagster._…`, `dagster_shared`, `dagster_webserver`."""
    root, *rest = module.split(".")
    if root in ("dagster_shared", "dagster_webserver", "dagster_graphql"):
        return True
    return root.startswith("dagster") and any(part.startswith("_") for part in rest)


def private_imports(file: Path) -> list[tuple[str, str]]:
    """The module and name of each import of a private name, in the order of the file."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and is_private(node.module):
            found += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, alias.name) for alias in node.names if is_private(alias.name)]
    return found

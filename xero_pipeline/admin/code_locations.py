"""Which of Dagster's code locations has the pipeline. Its name is the deployer's: Dagster's Helm chart, for example,
allows no underscore in it. So it is found by what it serves."""

from __future__ import annotations

from typing import Any

LOCATIONS_QUERY = """
query Locations {
  workspaceOrError {
    __typename
    ... on Workspace {
      locationEntries {
        name
        locationOrLoadError {
          __typename
          ... on RepositoryLocation { repositories { name jobs { name } } }
        }
      }
    }
    ... on Error { message }
  }
}
"""


def parse_locations(workspace: dict[str, Any], job: str) -> tuple[list[dict[str, str]], list[str]]:
    """Read the answer to `LOCATIONS_QUERY`.

    Returns:
        The selectors of the definitions that have this job, and the names of the code locations that are not loaded.
    """
    found, unloaded = [], []
    for entry in workspace["locationEntries"]:
        location = entry["locationOrLoadError"] or {}
        if location.get("__typename") != "RepositoryLocation":
            unloaded.append(str(entry["name"]))
            continue
        found += [
            {"repositoryName": repository["name"], "repositoryLocationName": entry["name"]}
            for repository in location["repositories"]
            if any(one["name"] == job for one in repository["jobs"])
        ]
    return found, unloaded

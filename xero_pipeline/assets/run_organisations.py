"""Which organisations a run syncs.

A run that automation or a person at our own commands starts names its organisations. One that somebody starts in
Dagster's UI, such as a backfill, names none. With more organisations than one run takes, it syncs the first of them,
and the sensor `remaining_organisations` requests runs for the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.warehouse.errors import UnknownOrganisation
from xero_pipeline.xero.client import OrganisationClient, Xero
from xero_pipeline.xero.errors import NotConnected, ReconnectNeeded

TENANTS_TAG = "xero_pipeline/tenants"
"""The tenant ids of a run, comma-separated. dagster.yaml lets one run of each value go on at a time."""
ALL_TENANTS = "all"

REMAINING_TAG = "xero_pipeline/remaining_organisations"
"""Marks a run that leaves organisations to the sensor of that name. Its value is `to_request`."""
TO_REQUEST = "to_request"
REMAINING_SENSOR = "remaining_organisations"

# PostgreSQL indexes no text above 2.7 kB, and Dagster indexes its tags.
_MAX_TAG_LENGTH = 2000


def build_tenant_tags(organisations: Sequence[str]) -> dict[str, str]:
    """Build the tag that names a run's tenant ids. `all` stands for none, and for a list too long for a tag."""
    names = ",".join(sorted(organisations))
    return {TENANTS_TAG: names if 0 < len(names) <= _MAX_TAG_LENGTH else ALL_TENANTS}


def parse_tenants(tags: Mapping[str, str]) -> list[str]:
    """Return the tenant ids that a run's tags name. Empty for a run of all organisations, or of unknown ones."""
    value = tags.get(TENANTS_TAG, ALL_TENANTS)
    return [] if value == ALL_TENANTS else value.split(",")


def split_organisations(organisations: Sequence[str], per_run: int) -> list[tuple[str, ...]]:
    """Split tenant ids into the organisations of one run each, in the order of the ids.

    The order keeps an organisation in the same group from day to day: its runs have the same `TENANTS_TAG`.
    """
    ordered = sorted(organisations)
    return [tuple(ordered[start : start + per_run]) for start in range(0, len(ordered), per_run)]


def choose_run_organisations(
    context: dg.AssetExecutionContext, xero: Xero, wanted: Sequence[str], per_run: int
) -> list[OrganisationClient]:
    """Choose the organisations that an asset of this run syncs.

    Args:
        wanted: the tenant ids of the run's config.
        per_run: how many organisations one run takes at most.

    Raises:
        NotConnected, ReconnectNeeded, UnknownOrganisation: see `choose_organisations`.
    """
    if wanted or not _is_divisible(context):
        return choose_organisations(xero, wanted)
    run = context.instance.get_run_by_id(context.run.run_id) or context.run
    if TENANTS_TAG in run.tags:
        # The run's earlier asset has chosen them, or the run that this one retries.
        return choose_organisations(xero, parse_tenants(run.tags))
    organisations = choose_organisations(xero, ())
    groups = split_organisations([one.tenant_id for one in organisations], per_run)
    if len(groups) == 1:
        context.instance.add_run_tags(run.run_id, build_tenant_tags(()))
        return organisations
    context.instance.add_run_tags(run.run_id, build_tenant_tags(groups[0]) | {REMAINING_TAG: TO_REQUEST})
    context.log.info(
        "%d organisations are connected, and a run takes %d: the sensor %s requests runs for the others",
        len(organisations),
        per_run,
        REMAINING_SENSOR,
    )
    return [one for one in organisations if one.tenant_id in groups[0]]


def choose_organisations(xero: Xero, wanted: Sequence[str]) -> list[OrganisationClient]:
    """Choose the organisations to sync: those with the tenant ids in `wanted`, or every connected one if it is empty.

    Raises:
        NotConnected: no organisation is connected.
        ReconnectNeeded: every one has to be connected again.
        UnknownOrganisation: a wanted organisation is not connected.
    """
    organisations = xero.list_organisations()
    if not organisations:
        raise NotConnected("No organisation is connected yet.")
    unknown = set(wanted) - {organisation.tenant_id for organisation in organisations}
    if unknown:
        raise UnknownOrganisation(f"No organisation with the id {', '.join(sorted(unknown))} is connected.")
    if wanted:
        return [organisation for organisation in organisations if organisation.tenant_id in wanted]
    left_out = list_left_out_organisations(xero, wanted)
    if len(left_out) == len(organisations):
        names = ", ".join(organisation.name for organisation in organisations)
        raise ReconnectNeeded(f"No organisation is connected to Xero any longer ({names}).")
    return [organisation for organisation in organisations if organisation not in left_out]


def list_left_out_organisations(xero: Xero, wanted: Sequence[str]) -> list[OrganisationClient]:
    """List the organisations that `choose_organisations` leaves out: those that have to be connected again.

    Each of their weeks would fail, so one that is gone for good would fail every sync.
    """
    lost = ConnectionStatus.RECONNECT_NEEDED
    return [client for client in xero.list_organisations() if not wanted and client.organisation.status is lost]


def _is_divisible(context: dg.AssetExecutionContext) -> bool:
    """Whether Dagster's daemon started the run, in a code location that has the sensor for the others."""
    return context.run.remote_job_origin is not None and context.repository_def.has_sensor_def(REMAINING_SENSOR)

"""Which organisation a Custom Connection opens.

It opens one organisation, and its token says which. Xero's list of connections may be closed to such an app. Then the
organisation itself is asked, without naming it: a Custom Connection needs no tenant id (Xero, "Custom Connections").
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from xero_pipeline.grants import Connection
from xero_pipeline.xero.errors import PayloadNotUnderstood, XeroError
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline.xero.oauth import read_connections
from xero_pipeline.xero.readers.accounts import read_organisation

log = logging.getLogger(__name__)


def list_custom_connections(apis: XeroApis) -> Sequence[Connection]:
    """List the organisations that a Custom Connection's token opens.

    Where Xero refuses its list, the connection's id is not known and empty.

    Raises:
        XeroError: Xero refuses both, or cannot be reached.
        PayloadNotUnderstood: the organisation does not say its id.
    """
    try:
        return read_connections(apis.get_connections())
    except XeroError as error:
        if error.status not in (401, 403):
            raise
        log.info("the list of connections is closed to this app (%s); asking the organisation itself", error.status)
    details = read_organisation(apis.get("Organisation", "get_organisations", ""))
    if details.organisation_id is None:
        raise PayloadNotUnderstood("Xero's description of the organisation has no OrganisationID.")
    return [Connection("", details.organisation_id, details.name)]

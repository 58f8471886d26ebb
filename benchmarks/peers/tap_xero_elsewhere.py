"""tap-xero as its command starts it, with Xero at another address: `XERO_URL`, instead of the constants in its code.

tap-xero 2.6.0 has no setting for the address. Nothing else of it is changed.
"""

import os

import requests
from tap_xero import client, main

url = os.environ["XERO_URL"]
client.BASE_URL = f"{url}/api.xro/2.0"
post = requests.Session.post


def post_elsewhere(session: requests.Session, address: str, **arguments: object) -> requests.Response:
    return post(session, address.replace("https://identity.xero.com", url), **arguments)


requests.Session.post = post_elsewhere
main()

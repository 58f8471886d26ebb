"""The Accounting API: from a request under `/api.xro/2.0` to Xero's JSON. Knows no sign-in but the access token."""

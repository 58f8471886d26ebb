"""The Accounting API: answers requests under `/api.xro/2.0` with Xero's JSON. It checks only the access token."""

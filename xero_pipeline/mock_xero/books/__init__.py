"""The books: a generated ledger, the edits made to it, and its figures. No HTTP and none of Xero's JSON here."""

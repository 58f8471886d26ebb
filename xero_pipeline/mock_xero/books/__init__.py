"""The books: a made-up ledger, what is edited in it, and what it says. Knows no HTTP and no JSON of Xero's."""

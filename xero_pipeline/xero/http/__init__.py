"""HTTP to Xero: the rate-limited, retrying session, call permits, the deadline, answers, the transport."""

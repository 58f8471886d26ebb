"""A deployment's connections to Xero: the encrypted tokens, their cipher, and the states of consents in progress."""

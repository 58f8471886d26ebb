"""What connects a deployment to Xero: encrypted tokens, their cipher, the states of consents that are under way."""

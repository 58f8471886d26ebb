"""The identity server: the consent page, tokens, and which organisations an app is connected to."""

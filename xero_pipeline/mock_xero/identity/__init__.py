"""The identity server: the consent page, tokens, and the connections between apps and organisations."""

"""The permits for calls to Xero, counted in the database so that every process of a deployment shares one budget."""

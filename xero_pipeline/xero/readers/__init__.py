"""Readers: JSON of Xero in, frames out. They are pure: no request, no database."""

"""Metrics files and Lightning loggers that record a run while it trains."""

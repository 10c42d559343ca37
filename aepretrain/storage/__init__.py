"""Atomic writes of files, JSON, arrays and weights."""

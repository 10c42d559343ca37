"""Baseline classifiers on the raw input."""

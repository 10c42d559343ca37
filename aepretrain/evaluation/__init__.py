"""Baseline classifiers on the raw input, and partition functions."""

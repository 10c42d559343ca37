"""Coders, corruptions, likelihoods and penalties. The only third-party import is torch."""

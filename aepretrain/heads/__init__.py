"""Heads: what is put on an encoder and trained with labels, one file each."""

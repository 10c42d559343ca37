"""Figures and HTML reports, made from the files of a run without loading a model."""

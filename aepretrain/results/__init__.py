"""What stages, classifiers, runs and comparisons found: typed records, each read and written in one place."""

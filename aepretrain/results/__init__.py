"""Results of stages, classifiers, runs and comparisons: typed records, each with a single reader and writer."""

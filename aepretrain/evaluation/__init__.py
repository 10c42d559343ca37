"""What paired runs say, and simple classifiers to beat."""

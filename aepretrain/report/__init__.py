"""Pictures of what was learnt. Knows arrays and figures, not models."""

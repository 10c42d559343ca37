"""Speed-ups of the training step, each called explicitly."""

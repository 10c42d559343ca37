"""Recovery from interruptions: save points, checkpoints, signals and the run's commit record."""

"""What survives a kill: save points, checkpoints, signals and the record of what is finished."""

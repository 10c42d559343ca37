"""One stage of training: the loop, its keyed noise, its best epoch, its progress and its record."""

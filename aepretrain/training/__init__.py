"""Training of one stage: the loop, keyed noise, the best epoch, progress and the record."""

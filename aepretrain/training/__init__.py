"""One stage of training: a Trainer of its own, its best epoch, its noise, its progress and its record."""

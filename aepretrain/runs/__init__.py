"""One experiment and its directory."""

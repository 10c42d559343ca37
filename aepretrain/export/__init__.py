"""The encoder in forms that other programs load, one file each."""

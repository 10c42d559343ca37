"""Export formats of the encoder, one file each."""

"""A head on an encoder, trained with labels."""

"""Greedy layer-wise pretraining: the stack, and the codes of finished layers."""

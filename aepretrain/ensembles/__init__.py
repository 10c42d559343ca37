"""Many seeds as one batched module: what none of the folders below knows of."""

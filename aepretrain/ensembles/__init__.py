"""Training many seeds as one batched module; no lower folder depends on this one."""

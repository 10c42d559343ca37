"""A denoising layer in JAX: an epoch is one compiled ``jax.lax.scan`` over its batches."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import statistics
import time

import jax
import jax.numpy as jnp
from jax.example_libraries import optimizers


def denoising_scanned(rows, features, batch_size, epochs, optimizer, rate):
    """Seconds per epoch of the same layer: masking noise, sigmoid, Bernoulli likelihood.

    Args:
        rows: Examples, a NumPy array of shape ``(N, D)``.
        features: Number of codes.
        batch_size: Examples per step.
        epochs: Number of epochs; the first one compiles and is not counted.
        optimizer: ``"sgd"`` or ``"adam"``.
        rate: Learning rate.
    """
    x, inputs = jnp.asarray(rows), rows.shape[1]
    initialize, update, weights_of = getattr(optimizers, optimizer)(rate)

    def loss(weights, batch, key):
        W, b, V, c = weights
        damaged = batch * (jax.random.uniform(key, batch.shape) >= 0.25)
        y = jax.nn.sigmoid(damaged @ W + b) @ V + c
        return (jax.nn.softplus(y) - batch * y).sum(1).mean()

    def step(carry, rows):
        state, key, number = carry
        key, noise = jax.random.split(key)
        value, gradients = jax.value_and_grad(loss)(weights_of(state), x[rows], noise)
        return (update(number, gradients, state), key, number + 1), value

    @jax.jit
    def epoch(carry, key):
        order = jax.random.permutation(key, len(x))[: len(x) // batch_size * batch_size]
        return jax.lax.scan(step, carry, order.reshape(-1, batch_size))

    key = jax.random.key(0)
    glorot = jax.nn.initializers.glorot_uniform()
    weights = (
        glorot(key, (inputs, features)), jnp.zeros(features), glorot(key, (features, inputs)), jnp.zeros(inputs)
    )  # fmt: skip
    carry, times = (initialize(weights), key, 0), []
    for number in range(epochs):
        start = time.perf_counter()
        carry, losses = epoch(carry, jax.random.key(number))
        float(losses.mean())
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])

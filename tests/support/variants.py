"""The lists that every layer joins: autoencoders and machines. The laws in test_laws.py hold for each entry."""

from aepretrain import (
    AdversarialAutoencoder,
    ContractiveAutoencoder,
    Conv,
    DenoisingAutoencoder,
    Dense,
    DropoutAutoencoder,
    Gaussian,
    GaussianNoise,
    KLSparsity,
    Masking,
    NoCorruption,
    PlainAutoencoder,
    RestrictedBoltzmannMachine,
    SaltAndPepper,
    SparseAutoencoder,
    SwapNoise,
    VariationalAutoencoder,
)

VARIANTS = {
    "plain": (PlainAutoencoder, {}),
    "sparse": (SparseAutoencoder, {"lam": 0.1}),
    "sparse-kl": (SparseAutoencoder, {"lam": 0.1, "penalty": KLSparsity(0.1)}),
    "dropout": (DropoutAutoencoder, {"p": 0.3}),
    "contractive": (ContractiveAutoencoder, {"lam": 0.1}),
    "contractive-estimated": (ContractiveAutoencoder, {"lam": 0.1, "projections": 2}),
    "denoising-masking": (DenoisingAutoencoder, {"corruption": Masking(0.3)}),
    "denoising-gaussian": (DenoisingAutoencoder, {"corruption": GaussianNoise(0.2)}),
    "denoising-salt": (DenoisingAutoencoder, {"corruption": SaltAndPepper(0.2)}),
    "denoising-swap": (DenoisingAutoencoder, {"corruption": SwapNoise(0.2)}),
    "adversarial": (AdversarialAutoencoder, {"lam": 0.5, "discriminator": (5,)}),
    "variational": (VariationalAutoencoder, {"beta": 0.5}),
    "variational-importance": (VariationalAutoencoder, {"samples": 3}),
    "variational-free": (VariationalAutoencoder, {"free_bits": 0.01}),
}

MACHINES = {
    "boltzmann": (RestrictedBoltzmannMachine, {"likelihood": Gaussian()}),
    "boltzmann-persistent": (RestrictedBoltzmannMachine, {"likelihood": Gaussian(), "persistent": 3, "lam": 0.1}),
}
"""Layers whose decoder is the encoder's transpose, and whose energy needs no reconstruction."""

LAYERS = VARIANTS | MACHINES

WITHOUT_REGULARIZER = {
    "sparse": (SparseAutoencoder, {"lam": 0.0}),
    "contractive": (ContractiveAutoencoder, {"lam": 0.0}),
    "dropout": (DropoutAutoencoder, {"p": 0.0}),
    "denoising": (DenoisingAutoencoder, {"corruption": NoCorruption()}),
    "denoising-p0": (DenoisingAutoencoder, {"corruption": Masking(0.0)}),
}

CODERS = {
    "dense": Dense(4),
    "tied": Dense(4, activation="tanh", tied=True),
    "deep": Dense(4, activation="softplus", hidden=(5,)),
    "conv": Conv(2, activation="tanh"),
    "top-k": Dense(5, activation="tanh", k=3, unit_norm=True),
}


def make(name, in_shape=(6,), coder=None, **kwargs):
    """A model of the lists."""
    variant, arguments = LAYERS[name]
    return variant(in_shape, coder or Dense(4), **{**arguments, **kwargs})

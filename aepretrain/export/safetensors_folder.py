"""The format ``safetensors``: the folder that ``load_encoder`` and ``load_autoencoder`` read."""

from pathlib import Path

from aepretrain.errors import ConfigError
from aepretrain.export.autoencoder import StackedAutoencoder, encoder_of
from aepretrain.export.encoder import save_encoder
from aepretrain.export.module import Encoder
from aepretrain.export.places import is_remote


def write_folder(network: Encoder | StackedAutoencoder, path: str | Path) -> None:
    """Save an encoder, with its decoders if it has some, as :func:`~aepretrain.export.encoder.save_encoder` does.

    Args:
        network: The encoder or the autoencoder. Its preprocessing is always part of the folder.
        path: A new or empty folder, or ``hf:owner/name``.

    Raises:
        ConfigError: If the folder holds files.
        StorageError: If a file cannot be written.
    """
    if not is_remote(path) and Path(path).is_dir() and any(Path(path).iterdir()):
        raise ConfigError(f"{path} holds files already. Name a new or empty folder.")
    stack = network if isinstance(network, StackedAutoencoder) else None
    encoder = encoder_of(network)
    save_encoder(
        encoder.layers,
        path,
        in_shape=encoder.in_shape,
        transform=encoder.transform,
        columns=encoder.columns,
        classes=encoder.class_names,
        preprocessing=encoder.preprocessing,
        provenance=encoder.provenance,
        decoders=None if stack is None else list(zip(stack.decoders, stack.likelihoods, strict=True)),
        validation_errors=None if stack is None else stack.validation_errors,
    )

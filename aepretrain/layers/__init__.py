"""The autoencoders, one file each: a variant fills in its energy and, where it has one, its own diagnostic.

To add one: a file with a class that fills in :meth:`Autoencoder.energy`, its name in the list below and in that of
``aepretrain/__init__.py``, and a row in the list of laws in ``tests/autoencoders/variants.py``.
"""

from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.layers.contractive import ContractiveAutoencoder
from aepretrain.layers.denoising import DenoisingAutoencoder
from aepretrain.layers.dropout import DropoutAutoencoder
from aepretrain.layers.plain import PlainAutoencoder
from aepretrain.layers.sparse import SparseAutoencoder
from aepretrain.layers.variational import VariationalAutoencoder

__all__ = [
    "Autoencoder",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "DropoutAutoencoder",
    "PlainAutoencoder",
    "SparseAutoencoder",
    "VariationalAutoencoder",
]

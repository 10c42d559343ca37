"""The autoencoders, one file each: a variant fills in its energy and, where it has one, its own diagnostic.

To add one: a file with a class that fills in :meth:`Autoencoder.energy`, its name in the list below and in that of
``aepretrain/__init__.py``, and a row in the list of laws in ``tests/autoencoders/variants.py``.
"""

from aepretrain.autoencoders.base import Autoencoder
from aepretrain.autoencoders.contractive import ContractiveAutoencoder
from aepretrain.autoencoders.denoising import DenoisingAutoencoder
from aepretrain.autoencoders.dropout import DropoutAutoencoder
from aepretrain.autoencoders.plain import PlainAutoencoder
from aepretrain.autoencoders.sparse import SparseAutoencoder
from aepretrain.autoencoders.variational import VariationalAutoencoder

__all__ = [
    "Autoencoder",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "DropoutAutoencoder",
    "PlainAutoencoder",
    "SparseAutoencoder",
    "VariationalAutoencoder",
]

"""What a stage trains, one file each: an autoencoder fills in its energy, any other layer its loss and its code.

To add one: a file with a class that fills in :meth:`Autoencoder.energy`, or the methods of :class:`Layer`, and its name
in the list below and in that of ``aepretrain/__init__.py``. A row in ``tests/support/variants.py`` has it tested.
"""

from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.layers.base import Layer, StageModule
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
    "Layer",
    "PlainAutoencoder",
    "SparseAutoencoder",
    "StageModule",
    "VariationalAutoencoder",
]

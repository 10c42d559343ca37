"""The layers that a stage trains, one file each.

To add a layer, write a subclass of :class:`Autoencoder` that implements ``energy``, or a subclass of :class:`Layer`
that implements its abstract methods. Export it here and in ``aepretrain/__init__.py``, and add a row to
``tests/support/variants.py`` to test it.
"""

from aepretrain.layers.adversarial import AdversarialAutoencoder
from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.layers.base import Layer, StageModule
from aepretrain.layers.boltzmann import RestrictedBoltzmannMachine
from aepretrain.layers.coding import CodingLayer
from aepretrain.layers.contractive import ContractiveAutoencoder
from aepretrain.layers.denoising import DenoisingAutoencoder
from aepretrain.layers.dropout import DropoutAutoencoder
from aepretrain.layers.plain import PlainAutoencoder
from aepretrain.layers.sparse import SparseAutoencoder
from aepretrain.layers.variational import VariationalAutoencoder

__all__ = [
    "AdversarialAutoencoder",
    "Autoencoder",
    "CodingLayer",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "DropoutAutoencoder",
    "Layer",
    "PlainAutoencoder",
    "RestrictedBoltzmannMachine",
    "SparseAutoencoder",
    "StageModule",
    "VariationalAutoencoder",
]

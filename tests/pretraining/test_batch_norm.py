"""A stack with batch norms counts the steps of its training alone, and leaves with its statistics."""

import pytest
import torch
from torch import nn

import aepretrain as ae
from aepretrain.export.formats import export_encoder
from tests.support.coders import NormedCoder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("norms")
    generator = torch.Generator().manual_seed(0)
    data = ae.Arrays(torch.rand(200, 5, generator=generator), validation=0.2, test=0.2)
    layers = [lambda s: ae.DenoisingAutoencoder(s, NormedCoder(8)), lambda s: ae.PlainAutoencoder(s, NormedCoder(3))]
    experiment = ae.Experiment(layers, data, ae.Pretraining(epochs=3, batch_size=40), report=False)
    stack = experiment.prepare()
    experiment.warnings(stack)  # tries wide layers on random inputs
    experiment.run(folder / "run", stack)
    return folder / "run", stack.eval(), data


def norms(module):
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm1d)]


def test_the_statistics_are_those_of_the_steps_of_training(run):
    folder, stack, _ = run
    assert [norm.num_batches_tracked.item() for norm in norms(stack)] == [3 * 120 // 40] * 2
    assert [norm.num_batches_tracked.item() for norm in norms(ae.load_encoder(folder / "encoder"))] == [9, 9]


def test_the_saved_encoder_and_its_exports_give_the_codes_of_the_stack(run, tmp_path):
    folder, stack, data = run
    x, encoder = data.splits().test.x, ae.load_encoder(folder / "encoder")
    with torch.no_grad():
        assert torch.equal(encoder(x), stack.encode(x))
        assert export_encoder(encoder, tmp_path / "a.pt2", x).parity.is_bitwise

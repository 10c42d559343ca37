"""Pictures of earlier epochs: the same examples and latents, without a trace in the weights."""

from functools import partial

import numpy as np
import pytest
import torch

from aepretrain import (
    Bernoulli,
    ConfigError,
    Dense,
    Digits,
    Experiment,
    FineTuning,
    PlainAutoencoder,
    Pretraining,
    VariationalAutoencoder,
)
from aepretrain.parts.noise import derive_seed
from aepretrain.report.run_report import write_run_report
from aepretrain.storage.weight_files import read_weights

pytestmark = pytest.mark.usefixtures("quick_embeddings")
LAYERS = [
    lambda shape: VariationalAutoencoder(shape, Dense(3), likelihood=Bernoulli()),
    lambda shape: PlainAutoencoder(shape, Dense(2)),
]


def run(out, epochs, picture_epochs, layers=LAYERS, data=Digits):
    pretraining = Pretraining(epochs, 128, picture_epochs=picture_epochs)
    Experiment(layers, data(), pretraining, finetune=FineTuning(0), report=False).run(out)
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("run"), 3, (1, 2, 9))


def read(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_first_layer_leaves_pictures_of_the_chosen_epochs_with_the_same_latents(finished):
    stages = finished / "stages"
    assert sorted(path.name for path in stages.glob("*/after-epoch-*")) == ["after-epoch-1.npz", "after-epoch-2.npz"]
    first, last = read(stages / "00-variational" / "after-epoch-1.npz"), read(stages / "00-variational" / "samples.npz")
    layer = LAYERS[0]((1, 8, 8)).eval()
    read_weights(stages / "00-variational" / "model.safetensors", layer)
    generator = torch.Generator().manual_seed(derive_seed(0, "00-variational", "latents"))
    expected = layer.decode(torch.randn(12, 3, generator=generator)).detach().numpy()
    np.testing.assert_allclose(last["generated"], expected, rtol=1e-5)
    for kind in ("generated", "reconstructed"):
        assert first[kind].shape == last[kind].shape == (12, 1, 8, 8)
        assert not np.array_equal(first[kind], last[kind])


def test_an_epoch_is_shown_as_a_run_that_ends_there_shows_it(finished, tmp_path):
    ends = read(run(tmp_path / "short", 2, ()) / "stages" / "00-variational" / "samples.npz")
    after = read(finished / "stages" / "00-variational" / "after-epoch-2.npz")
    for kind in ("generated", "reconstructed"):
        np.testing.assert_array_equal(after[kind], ends[kind])


def test_pictures_leave_no_trace_in_the_weights(finished, tmp_path):
    without = run(tmp_path / "without", 3, ())
    layers = [LAYERS[0]((1, 8, 8)) for _ in range(2)]
    for layer, out in zip(layers, (finished, without), strict=True):
        read_weights(out / "stages" / "00-variational" / "model.safetensors", layer)
    assert all(map(torch.equal, *(layer.state_dict().values() for layer in layers)))


def test_an_epoch_that_is_never_finished_is_refused():
    with pytest.raises(ConfigError, match=r"each must be >= 1, but got 0. \[\] keeps none"):
        Pretraining(picture_epochs=(1, 0))


def test_the_report_shows_them_beside_the_originals(finished, tmp_path):
    page = write_run_report(finished).read_text()
    for words in ("Layer 1: from epoch to epoch", "after epoch 1<", "after epoch 2<", "The same latents, decoded."):
        assert words in page
    assert "after epoch 9" not in page
    without = run(tmp_path / "without", 1, (), layers=[partial(PlainAutoencoder, coder=Dense(2))])
    assert "from epoch to epoch" not in write_run_report(without).read_text()

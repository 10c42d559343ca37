"""A threshold found on validation rows marks at most the named share of rows like these."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

import aepretrain as ae
from aepretrain.export.decoders import _digest
from aepretrain.export.outliers import MOST


@pytest.mark.parametrize("rows", [20, 99, 1003])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_of_rows_that_are_exchangeable_at_most_the_share_lies_above_the_others_threshold(rows, share):
    """Each of N + 1 rows in turn is the new row: as many as allowed exceed the threshold of the other N."""
    errors = torch.randn(rows + 1).exp().sort().values
    ranks = torch.arange(rows + 1)
    above = [
        errors[new].item() > ae.ValidationErrors.of(errors[ranks != new]).threshold(share)
        for new in range(rows + 1)[-math.ceil(share * (rows + 1)) - 3 :]
    ]
    allowed = share * (rows + 1)
    assert sum(above) <= allowed
    assert sum(above) >= allowed - 1 - rows / min(rows, MOST)  # and hardly fewer than allowed


def test_the_threshold_is_the_error_of_a_rank_and_too_few_rows_are_refused():
    found = ae.ValidationErrors.of(torch.arange(99.0).flip(0) + 1)
    assert [found.threshold(share) for share in (0.01, 0.02, 0.1, 0.5)] == [99, 98, 90, 50]
    with pytest.raises(ae.ConfigError, match=r"0.001 needs 999 validation rows, but the run has 99. Take 0.01 or"):
        found.threshold(0.001)
    for share in (0, -0.1, 0.6, math.nan):
        with pytest.raises(ae.ConfigError, match=r"contamination must lie in \(0, 0.5\]"):
            found.threshold(share)


def test_of_many_rows_the_largest_error_is_kept_and_ranks_are_rounded_up():
    errors = torch.randperm(10_007).double()
    found = ae.ValidationErrors.of(errors)
    assert (found.rows, len(found.errors), found.errors[-1]) == (10_007, MOST, 10_006)
    exact = errors.sort().values
    for share in (0.0001, 0.001, 0.01, 0.1, 0.5):
        rank = math.ceil((10_007 + 1) * (1 - share))
        assert exact[rank - 1] <= found.threshold(share) <= exact[min(rank + 11, 10_007) - 1]


@pytest.mark.parametrize("errors", [torch.zeros(0), torch.tensor([1.0, math.nan]), torch.tensor([math.inf])])
def test_errors_that_are_missing_or_not_finite_are_refused(errors):
    with pytest.raises(ValueError, match="finite numbers"):
        ae.ValidationErrors.of(errors)


@pytest.fixture
def folder(tmp_path):
    stack = [(nn.Linear(2, 4), ae.Gaussian())]
    errors = ae.ValidationErrors.of(torch.arange(1.0, 31))
    layers = nn.Sequential(nn.Linear(4, 2))
    return ae.save_encoder(layers, tmp_path, in_shape=(4,), decoders=stack, validation_errors=errors)


def test_a_saved_autoencoder_knows_its_threshold(folder):
    loaded = ae.load_autoencoder(folder)
    assert (loaded.threshold(0.1), loaded.lower(1).threshold(0.1)) == (28, 28)
    raw = 9 * torch.randn(200, 4)
    assert torch.equal(loaded.is_outlier(raw, 0.1), loaded.error(raw) > 28)
    assert 0 < loaded.is_outlier(raw, 0.1).sum() < 200


def change_rows(folder, rows):
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["validation_rows"] = rows
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("rows", [29, 10**9, 0, -1, "all", True, [30], None])
def test_another_number_of_validation_rows_is_refused(folder, rows):
    change_rows(folder, rows)
    with pytest.raises(ae.StorageError, match=r"config\.json|decoder\.safetensors"):
        ae.load_autoencoder(folder)


@pytest.mark.parametrize("wrong", [lambda x: x.flip(0), lambda x: x * math.nan, lambda x: x[1:], lambda x: x.float()])
def test_errors_that_are_none_are_refused_though_the_digest_fits(folder, wrong):
    path = folder / "decoder.safetensors"
    tensors = load_file(path)
    path.write_bytes(save({**tensors, "validation_errors": wrong(tensors["validation_errors"]).contiguous()}))
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["sha256"] = _digest(path.read_bytes(), config["decoder"]["layers"], 30)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ae.StorageError, match=r"decoder\.safetensors"):
        ae.load_autoencoder(folder)


def test_without_errors_of_validation_rows_no_threshold_is_made_up(tmp_path):
    decoders = [(nn.Linear(2, 4), ae.Gaussian())]
    loaded = ae.load_autoencoder(ae.save_encoder(nn.Linear(4, 2), tmp_path, in_shape=(4,), decoders=decoders))
    with pytest.raises(ae.ConfigError, match="outliers need errors of validation rows, which were not saved"):
        loaded.threshold()


def test_a_lower_part_of_a_stack_has_no_threshold_of_the_whole(tmp_path):
    layers = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    decoders = [(nn.Linear(3, 4), ae.Gaussian()), (nn.Linear(2, 3), ae.Gaussian())]
    errors = ae.ValidationErrors.of(torch.ones(30))
    path = ae.save_encoder(layers, tmp_path, in_shape=(4,), decoders=decoders, validation_errors=errors)
    assert ae.load_autoencoder(path).lower(1).validation_errors is None

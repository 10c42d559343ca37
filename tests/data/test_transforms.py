"""What a transform learns of training rows is what scikit-learn learns, and nothing of other rows is in it."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler
from torch import nn

from aepretrain import (
    Arrays,
    Bernoulli,
    ConfigError,
    DataError,
    Dense,
    Digits,
    GreedyStack,
    MappedArray,
    MinMax,
    NoTransform,
    ParquetFolder,
    PlainAutoencoder,
    RankGauss,
    Scale,
    Standardize,
)
from aepretrain.data.columns import Column
from aepretrain.data.file_rows import FileRows, RowFile, identity_of
from aepretrain.data.named_transforms import NAMED, TRANSFORMS
from aepretrain.data.rows import Rows
from aepretrain.data.table_transform import TableTransform

REFERENCE = {Standardize: StandardScaler, MinMax: MinMaxScaler}
VALUES = arrays(
    np.float32,
    st.tuples(st.integers(2, 40), st.integers(1, 5)),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
)


def as_file(folder, x):
    path = folder / "x.bin"
    x.numpy().tofile(path)
    return FileRows(RowFile(path, tuple(x.shape[1:]), x.dtype), torch.arange(len(x)), identity_of(path))


@pytest.mark.parametrize("cls", REFERENCE)
def test_fit_equals_scikit_learn_in_float64(cls):
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(500, 6)) * 10.0 ** np.arange(-3, 3) + 10.0 ** np.arange(6)).astype(np.float32)
    x[:, 2] = 7.7
    known = REFERENCE[cls]().fit_transform(x.astype(np.float64))
    found = cls().fit(torch.from_numpy(x))(torch.from_numpy(x))
    # float32 cannot tell values of 1e5 apart below 0.004: the deviation 100 there is known to 1e-4.
    torch.testing.assert_close(found.double(), torch.from_numpy(known), rtol=1e-5, atol=2e-4)


def test_statistics_are_those_of_float64_rounded_once():
    x = (np.random.default_rng(1).normal(size=(3000, 4)) + 1e4).astype(np.float32)
    known = StandardScaler().fit(x.astype(np.float64))
    found = Standardize().fit(torch.from_numpy(x))
    torch.testing.assert_close(found.mean, torch.from_numpy(known.mean_).float(), rtol=0, atol=0)
    torch.testing.assert_close(found.std, torch.from_numpy(known.scale_).float(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("cls", REFERENCE)
@pytest.mark.parametrize("shape", [(3,), (2, 4, 4), (1000,)])
def test_rows_of_a_file_give_the_same_fit_as_a_tensor(cls, shape, tmp_path, monkeypatch):
    monkeypatch.setattr("aepretrain.data.rows.PIECE", 4000)
    monkeypatch.setattr("aepretrain.data.file_rows.PIECE", 4000)
    x = torch.randn(70, *shape) * 30 + 5
    rows = as_file(tmp_path, x)
    assert len(list(rows.scan())) > 1 or shape == (3,)
    whole, pieced = cls().fit(x), cls().fit(rows)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(pieced.state_dict()[name], value, rtol=1e-6, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(x=VALUES)
@pytest.mark.parametrize("cls", REFERENCE)
def test_the_inverse_gives_the_training_rows_back(cls, x):
    x = torch.from_numpy(x)
    transform = cls().fit(x)
    scaled = transform(x)
    assert scaled.isfinite().all()
    largest = x.abs().amax(dim=0).clamp(min=1e-30)
    assert ((transform.inverse(scaled) - x).abs() <= 1e-6 * largest).all()


@settings(max_examples=60, deadline=None)
@given(x=VALUES)
def test_standardized_rows_have_mean_0_and_deviation_1_and_scaled_ones_reach_from_0_to_1(x):
    spread = np.ptp(x, axis=0)
    assume((spread > 1e-3 * np.abs(x).max(axis=0)).all())
    x = torch.from_numpy(x)
    standardized, scaled = Standardize().fit(x)(x).double(), MinMax().fit(x)(x)
    torch.testing.assert_close(standardized.mean(0), torch.zeros(x.shape[1]).double(), rtol=0, atol=1e-2)
    torch.testing.assert_close(standardized.std(0, correction=0), torch.ones(x.shape[1]).double(), rtol=1e-2, atol=0)
    assert torch.equal(scaled.amin(0), torch.zeros(x.shape[1]))
    assert torch.equal(scaled.amax(0), torch.ones(x.shape[1]))


@pytest.mark.parametrize("divide_by", [16, 255, 0.3])
def test_scale_has_the_bits_of_a_division(divide_by):
    pixels = torch.arange(256, dtype=torch.uint8).reshape(4, 64)
    assert torch.equal(Scale(divide_by)(pixels), pixels.float() / divide_by)
    assert torch.equal(Scale(divide_by)(pixels.double()), pixels.float() / divide_by)
    assert torch.equal(Scale(divide_by).inverse(Scale(divide_by)(pixels)).round(), pixels.float())


@pytest.mark.parametrize("count", [3, 50, 3000])
def test_ranks_become_normal_as_with_scikit_learn(count):
    generator = np.random.default_rng(0)
    x = np.exp(2 * generator.normal(size=(count, 3))).astype(np.float32)
    transform = RankGauss().fit(torch.from_numpy(x))
    known = QuantileTransformer(n_quantiles=transform.count, output_distribution="normal", subsample=None)
    new = np.concatenate([x, x * 1.01, 50 * generator.normal(size=(20, 3))]).astype(np.float32)
    expected = known.fit(x.astype(np.float64)).transform(new.astype(np.float64))
    found = transform(torch.from_numpy(new))
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=1e-3, atol=1e-3)
    raw = torch.from_numpy(x)
    torch.testing.assert_close(transform.inverse(transform(raw)), raw, rtol=1e-3, atol=1e-3)


def test_a_value_that_many_rows_share_gets_its_middle_rank():
    x = torch.tensor([0.0] * 80 + [1.0] * 20)[:, None]
    share = torch.special.ndtr(RankGauss().fit(x)(torch.tensor([[0.0], [1.0]]))).flatten()
    torch.testing.assert_close(share, torch.tensor([0.4, 0.9]), atol=0.02, rtol=0)
    assert RankGauss().fit(torch.full((9, 1), 7.0))(torch.tensor([[7.0]])).item() == 0
    with pytest.raises(ValueError, match="count must be >= 2"):
        RankGauss(1)
    for wrong, message in ((torch.rand(1, 2), "at least 2 training rows"), (torch.full((9, 1), torch.nan), "hold NaN")):
        with pytest.raises(DataError, match=message):
            RankGauss().fit(wrong)


def test_constant_features_become_0_and_values_beyond_the_training_rows_are_clamped():
    x = torch.tensor([[0.1, 1.0], [0.1, 3.0]]).repeat(7, 1)
    assert torch.equal(Standardize().fit(x).std, torch.ones(2))
    for cls in REFERENCE:
        assert torch.equal(cls().fit(x)(x)[:, 0], torch.zeros(14))
    new = torch.tensor([[0.1, 5.0], [0.1, -1.0]])
    assert MinMax().fit(x)(new)[:, 1].tolist() == [1, 0]
    assert MinMax(clamp=False).fit(x)(new)[:, 1].tolist() == [2, -1]


@pytest.mark.parametrize("cls", TRANSFORMS.values())
def test_a_transform_leaves_raw_values_alone_and_its_state_is_in_its_buffers(cls):
    columns = [Column(name, "numeric") for name in "abc"]
    arguments = {Scale: {"divide_by": 4}, TableTransform: {"columns": columns, "scaling": Standardize()}}
    x = torch.rand(9, 3) * 8
    before = x.clone()
    transform = cls(**arguments.get(cls, {})).fit(x)
    scaled = transform(x)
    assert torch.equal(x, before)
    assert scaled.dtype == torch.float32
    again = cls(**transform.arguments()).reserve((3,))
    again.load_state_dict(transform.state_dict(), strict=True)
    assert torch.equal(again(x), scaled)
    assert str(again) == str(transform)
    assert not list(transform.parameters())
    assert isinstance(nn.Sequential(transform, nn.Linear(3, 2))(x).sum(), torch.Tensor)


def test_gradients_reach_the_raw_values():
    x = torch.rand(5, 3, requires_grad=True)
    Standardize().fit(x)(x).square().sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("cls", REFERENCE)
def test_what_cannot_be_fitted_or_scaled_is_refused(cls):
    with pytest.raises(ValueError, match="has not seen any training rows"):
        cls()(torch.rand(2, 3))
    with pytest.raises(ValueError, match=r"fitted to examples of shape \(3,\), but got \(1,\)"):
        cls().fit(torch.rand(5, 3))(torch.rand(2, 1))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(DataError, match="feature 1 has NaN or infinity in the training rows"):
            cls().fit(torch.tensor([[1.0, bad], [2.0, 3.0]]))
    with pytest.raises(DataError, match="there are no training rows"):
        cls().fit(torch.empty(0, 3))


def test_settings_that_cannot_be_are_refused():
    for number in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be a positive number"):
            Scale(number)
    with pytest.raises(
        ConfigError, match=r"data\.transform must be one of none, standardize, minmax, rank_gauss, but is 'zscore'"
    ):
        Arrays(np.ones((9, 2)), transform="zscore")
    with pytest.raises(DataError, match="from one end of float32 to the other"):
        MinMax().fit(torch.tensor([[-3e38], [3e38]]))


X = np.random.default_rng(3).normal(3, 20, (300, 4)).astype(np.float32)


def mapped(folder, values, **settings):
    np.save(folder / "x.npy", values)
    return MappedArray(str(folder / "x.npy"), validation=50, test=50, **settings)


def parquet(folder, values, **settings):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({f"c{k}": values[:, k] for k in range(values.shape[1])}), folder / "x.parquet")
    settings |= {"validation": 50, "test": 50, "cache": str(folder / "cache")}
    return ParquetFolder(str(folder / "x.parquet"), **settings)


def arrays_of(folder, values, **settings):
    settings.pop("memory_budget", None)
    return Arrays(values, more_inputs=np.full((5, 4), 1e6), **settings)


SOURCES = [arrays_of, mapped, parquet]


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("name", ["standardize", "minmax", "rank_gauss"])
@pytest.mark.parametrize("budget", [None, "4kB"])
def test_validation_and_test_rows_have_no_influence_on_the_fit(make, name, budget, tmp_path):
    plain = make(tmp_path, X).splits()
    raw_train = plain.train.x
    data = make(tmp_path, X, transform=name, memory_budget=budget)
    splits = data.splits()
    assert isinstance(splits.train.x, Rows) == (budget is not None and make is not arrays_of)
    expected = NAMED[name]().fit(raw_train)
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(data.transform.state_dict()[key], value, rtol=1e-6, atol=1e-6)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(splits, part).x[:], data.transform(getattr(plain, part).x))
    assert torch.equal(splits.unlabelled[:], data.transform(plain.unlabelled))
    held_out = {tuple(row) for row in torch.cat([plain.validation.x, plain.test.x]).tolist()}
    changed = X.copy()
    changed[[tuple(row) in held_out for row in X.tolist()]] *= 1000
    again = make(tmp_path, changed, transform=name, memory_budget=budget)
    again.splits()
    assert all(map(torch.equal, again.transform.state_dict().values(), data.transform.state_dict().values()))


@pytest.mark.parametrize("make", [mapped, parquet])
@pytest.mark.parametrize("name", ["none", "standardize", "minmax"])
def test_batches_within_a_budget_are_the_same_bits(make, name, tmp_path):
    loose, tight = (make(tmp_path, X, transform=name, memory_budget=budget) for budget in (None, "4kB"))
    assert torch.equal(loose.splits().train.x, tight.splits().train.x[:])
    assert all(map(torch.equal, loose.transform.state_dict().values(), tight.transform.state_dict().values()))


@pytest.mark.parametrize("make", SOURCES)
def test_without_a_setting_values_stay_as_they_are(make, tmp_path):
    data = make(tmp_path, X)
    assert isinstance(data.transform, NoTransform)
    assert {tuple(row) for row in data.splits().validation.x.tolist()} <= {tuple(row) for row in X.tolist()}


def test_bytes_are_divided_by_255_or_standardized_themselves(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (300, 2, 3), dtype=np.uint8)
    plain, standardized = mapped(tmp_path, x), mapped(tmp_path, x, transform="standardize")
    assert plain.splits().train.x.max() == 1
    standardized.splits()
    assert 100 < standardized.transform.mean.mean() < 155


def test_a_key_of_rows_tells_the_statistics_apart(tmp_path):
    x = torch.rand(20, 3)
    rows = as_file(tmp_path, x)
    keys = set()
    for transform in (None, Standardize().fit(x), Standardize().fit(2 * x), MinMax().fit(x), Scale(2), Scale(3)):
        rows.transform = transform
        keys.add(rows.key)
    assert len(keys) == 6


def test_a_transform_that_is_fitted_already_stays(tmp_path):
    data = mapped(tmp_path, X, transform="standardize")
    data.transform = Standardize().fit(torch.tensor([[0.0] * 4, [2.0] * 4]))
    data.splits()
    assert data.transform.mean.tolist() == [1] * 4


def test_digits_scale_raw_pixels_as_the_splits_are_scaled():
    from sklearn.datasets import load_digits

    raw = torch.from_numpy(load_digits().data).reshape(-1, 1, 8, 8)
    data = Digits()
    x = {tuple(row) for row in data.transform(raw).flatten(1).tolist()}
    assert {tuple(row) for row in data.splits().train.x.flatten(1).tolist()} <= x
    assert data.class_names == list("0123456789")


def test_minmax_lets_a_bernoulli_likelihood_take_a_table_of_any_range(tmp_path):
    layers = [lambda shape: PlainAutoencoder(shape, Dense(2), likelihood=Bernoulli())]
    with pytest.raises(DataError, match=r"Bernoulli takes values in \[0, 1\]"):
        GreedyStack((4,), layers).check(mapped(tmp_path, X), 0)
    GreedyStack((4,), layers).check(mapped(tmp_path, X, transform="minmax"), 0)

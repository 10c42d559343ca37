"""The transform of a table learns from training rows alone, and its numbers are those of scikit-learn's estimators."""

import json

import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from aepretrain import MinMax, NoTransform, RankGauss, Standardize, StorageError, load_encoder, save_encoder
from aepretrain.data.columns import Column
from aepretrain.data.table_transform import TableTransform

COLUMNS = [
    Column("mass", "numeric", missing=True),
    Column("island", "category", ("Biscoe", "Dream", "Torgersen")),
    Column("fed", "boolean", missing=True),
    Column("age", "date"),
    Column("sex", "category", ("f", "m"), missing=True),
]
NAN = float("nan")


@pytest.fixture
def raw():
    generator = np.random.default_rng(0)
    x = np.stack(
        [
            generator.normal(50, 9, 200),
            generator.integers(0, 3, 200),
            generator.integers(0, 2, 200),
            generator.normal(9000, 300, 200),
            generator.integers(0, 2, 200),
        ],
        axis=1,
    ).astype(np.float32)
    for column in (0, 2, 4):
        x[generator.random(200) < 0.2, column] = NAN
    return torch.from_numpy(x)


@pytest.mark.parametrize(("ours", "theirs"), [(Standardize, StandardScaler), (MinMax, MinMaxScaler)])
def test_features_are_those_of_scikit_learn(ours, theirs, raw):
    transform = TableTransform(COLUMNS, ours()).fit(raw)
    found = transform(raw)
    values = raw.double().numpy()
    numbers = make_pipeline(SimpleImputer(strategy="median"), theirs()).fit_transform(values[:, [0, 3]])
    answers = SimpleImputer(strategy="median").fit_transform(values[:, [2]])
    marks = np.isnan(values[:, [0, 2]])
    names = ["Biscoe", "Dream", "Torgersen", "other"]
    islands = OneHotEncoder(categories=[range(4)]).fit_transform(values[:, [1]]).toarray()
    sexes = OneHotEncoder(categories=[[0, 1, 2, 3]]).fit_transform(np.nan_to_num(values[:, [4]], nan=3)).toarray()
    expected = np.concatenate([numbers, answers, marks, islands, sexes], axis=1)
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-4)
    assert transform.feature_names[:5] == ["mass", "age", "fed", "mass missing", "fed missing"]
    assert transform.feature_names[5:9] == [f"island={name}" for name in names]
    assert len(transform.feature_names) == found.shape[1]


def test_unseen_and_rare_and_missing_values_have_codes_of_their_own(raw):
    raw[:, 1] = torch.where(raw[:, 1] == 2, 0.0, raw[:, 1])
    raw[5, 1] = 2  # one training row: too rare for a feature of its own
    transform = TableTransform(COLUMNS, Standardize()).fit(raw)
    rows = raw[:1].repeat(5, 1)
    rows[:, 1] = torch.tensor([0.0, 1.0, 2.0, 3.0, NAN])
    rows[:, 4] = torch.tensor([0.0, 1.0, 2.0, NAN, 77.0])
    found = transform(rows)
    assert found[:, 5:9].argmax(dim=1).tolist() == [0, 1, 3, 3, 3]
    assert found[:, 9:13].argmax(dim=1).tolist() == [0, 1, 2, 3, 2]
    assert torch.equal(found[:, 5:9].sum(dim=1), torch.ones(5))
    assert torch.equal(found[:, 9:13].sum(dim=1), torch.ones(5))


def test_restored_rows_are_missing_where_they_were(raw):
    transform = TableTransform(COLUMNS, Standardize()).fit(raw)
    torch.testing.assert_close(transform.restore(transform(raw)), raw, rtol=1e-4, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("scaling", [NoTransform(), Standardize(), MinMax(), RankGauss()])
def test_the_inverse_leads_back_to_the_columns(scaling, raw):
    transform = TableTransform(COLUMNS, scaling).fit(raw)
    again = transform.inverse(transform(raw))
    expected = raw.clone()
    for column in (0, 2):
        expected[:, column] = raw[:, column].nan_to_num(transform.imputed.median[0 if column == 0 else 2].item())
    torch.testing.assert_close(again, expected, equal_nan=True, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("scaling", [NoTransform(), Standardize(), MinMax(), RankGauss()])
def test_it_travels_with_the_encoder_in_plain_values(scaling, raw, tmp_path):
    transform = TableTransform(COLUMNS, scaling).fit(raw)
    layers = torch.nn.Sequential(torch.nn.Linear(13, 4))
    names = [column.name for column in COLUMNS]
    folder = save_encoder(layers, tmp_path, in_shape=(5,), transform=transform, columns=names)
    described = json.loads((folder / "config.json").read_text())
    assert described["transform"]["columns"][1]["values"] == ["Biscoe", "Dream", "Torgersen"]
    encoder = load_encoder(folder)
    assert torch.equal(encoder(raw), layers(transform(raw)))
    assert (encoder.in_shape, encoder.scaled_shape, encoder.columns) == ((5,), (13,), names)
    bare = load_encoder(folder, transform=False)
    assert torch.equal(bare(transform(raw)), encoder(raw))
    assert bare.in_shape == (13,)


@pytest.mark.parametrize(
    "change",
    [
        {"columns": []},
        {"columns": [{"name": "a", "kind": "colour"}]},
        {"columns": [{"name": "a", "kind": "category", "values": ["x", "x"]}]},
        {"columns": [{"name": "a", "kind": "numeric"}]},
        {"columns": "abcde"},
        {"scaling": {"type": "Scale"}},
        {"scaling": {"type": "RankGauss", "count": 1}},
    ],
)
def test_a_damaged_description_is_refused(change, raw, tmp_path):
    transform = TableTransform(COLUMNS, Standardize()).fit(raw)
    folder = save_encoder(torch.nn.Linear(13, 4), tmp_path, in_shape=(5,), transform=transform)
    config = json.loads((folder / "config.json").read_text())
    config["transform"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(StorageError, match="the transform TableTransform does not fit"):
        load_encoder(folder)


def test_other_rows_have_no_influence_and_a_table_of_categories_alone_needs_no_numbers(raw):
    columns = [COLUMNS[1], COLUMNS[4]]
    transform = TableTransform(columns, Standardize()).fit(raw[:, [1, 4]])
    assert transform.is_fitted
    assert transform(raw[:, [1, 4]]).shape == (200, 8)
    assert not TableTransform(COLUMNS, Standardize()).is_fitted
    with pytest.raises(ValueError, match="has not seen any training rows"):
        TableTransform(COLUMNS, Standardize())(raw)
    with pytest.raises(ValueError, match=r"fitted to examples of shape \(2,\), but got \(5,\)"):
        transform(raw)

"""The encoder gives what a stack gives, bit for bit, also after pickling, from a run and in another process."""

import pickle
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch.optim import Adam

import aepretrain as ae
from aepretrain.sklearn import GreedyEncoder, PretrainedClassifier, ReconstructionOutlierDetector
from aepretrain.sklearn.widths import VARIANTS
from tests.support.variants import VARIANTS as ALL
from tests.support.variants import make

from .rows import NAMES, VALUES, X, Y, same_bits

QUIET = ae.RunContext(seed=3, progress=False)
SMALL = partial(GreedyEncoder, layers=(8, 4), epochs=2, random_state=3)


def noisy(features):
    return lambda shape: ae.DenoisingAutoencoder(
        shape, ae.Dense(features, "relu"), likelihood=ae.Gaussian(), optimizer=partial(Adam, lr=1e-3)
    )


@pytest.fixture(scope="module")
def encoder():
    return SMALL().fit(X)


def test_one_width_is_a_stack_of_one_layer():
    one, listed = (SMALL(layers=layers).fit(X) for layers in (4, [4]))
    assert same_bits(one.network_, listed.network_)


@pytest.fixture(scope="module")
def stack():
    """The stack of Python, trained on the same rows; Arrays wants held-out rows, which choose nothing here."""
    rows = np.concatenate([X, X[:20] + 1])
    data = ae.Arrays(rows, transform="standardize", splits=["train"] * len(X) + ["validation"] * 10 + ["test"] * 10)
    trained = ae.GreedyStack((6,), [noisy(8), noisy(4)], seed=3).fit(data, ae.Pretraining(2, 32), QUIET)
    return trained, data.transform


@pytest.fixture(scope="module")
def folder(stack, tmp_path_factory):
    """The encoder of that stack, as a run saves it."""
    trained, transform = stack
    run = tmp_path_factory.mktemp("run")
    ae.save_encoder(
        trained.encoder, run / "encoder", in_shape=(6,), transform=transform, decoders=trained.decoders,
        columns=list("abcdef"),
    )  # fmt: skip
    return run


def test_weights_codes_and_reconstructions_equal_those_of_a_stack(encoder, stack):
    trained, transform = stack
    x = transform(torch.from_numpy(X).float())
    assert same_bits(encoder.network_.layers, trained.encoder)
    with torch.no_grad():
        codes = trained.encode(x)
        assert np.array_equal(encoder.transform(X), codes.numpy())
        assert np.array_equal(encoder.inverse_transform(codes), transform.inverse(trained.decode(codes)).numpy())
        first = next(iter(trained))
        losses = first.L(x, first.g(list(trained)[1].decode(codes)))
    np.testing.assert_allclose(encoder.score_samples(X), -losses.numpy(), rtol=1e-5)


def test_a_score_does_not_depend_on_the_batch(encoder):
    whole = encoder.score_samples(X)
    assert whole.dtype == np.float64
    alone = np.concatenate([encoder.score_samples(X[row : row + 1]) for row in range(10)])
    np.testing.assert_allclose(alone, whole[:10], rtol=1e-12)
    assert encoder.score(X) == whole.mean()


def test_pickle_and_joblib_keep_every_bit(encoder, tmp_path):
    joblib.dump(encoder, tmp_path / "encoder.joblib")
    for again in (pickle.loads(pickle.dumps(encoder)), joblib.load(tmp_path / "encoder.joblib")):
        assert np.array_equal(again.transform(X), encoder.transform(X))
        assert np.array_equal(again.score_samples(X), encoder.score_samples(X))


def test_a_pickle_holds_plain_modules_alone(encoder):
    text = pickle.dumps(encoder)
    assert b"lightning" not in text
    assert b"torch.optim" not in text


def test_nothing_is_printed_and_nothing_is_written(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    SMALL(patience=1).fit(X)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
    assert torch.get_rng_state().equal(before)
    SMALL(verbose=1).fit(X)
    assert "00-denoising" in capfd.readouterr().out


def test_the_seed_may_come_from_a_generator():
    codes = [SMALL(random_state=np.random.RandomState(seed)).fit_transform(X) for seed in (0, 0, 1)]
    assert np.array_equal(codes[0], codes[1])
    assert not np.array_equal(codes[0], codes[2])


def test_the_variants_are_those_of_the_package():
    assert {type(make(name)) for name in ALL} == set(VARIANTS.values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_chosen_by_its_name(variant):
    codes = SMALL(layers=(4,), variant=variant, epochs=1).fit_transform(X)
    assert codes.shape == (len(X), 4)


def test_a_layer_may_be_a_function_and_a_variant_a_class():
    own = SMALL(layers=(noisy(8), 4)).fit(X)
    assert same_bits(own.network_, SMALL().fit(X).network_)
    sparse = SMALL(layers=[5], variant=partial(ae.SparseAutoencoder, lam=0.5)).fit(X)
    assert sparse.transform(X).shape == (len(X), 5)


def test_minmax_rows_have_a_bernoulli_likelihood():
    encoder = SMALL(scale="minmax", activation="sigmoid").fit(X)
    assert [type(each).__name__ for each in encoder.autoencoder_.likelihoods] == ["Bernoulli", "Gaussian"]
    low, high = X.min(axis=0), X.max(axis=0)
    again = encoder.inverse_transform(encoder.transform(X))
    assert (again >= low - 1e-4).all()
    assert (again <= high + 1e-4).all()


def test_patience_holds_rows_out_and_keeps_the_best_epoch():
    kept = SMALL(patience=1, epochs=30, lr=0.3).fit(X)
    assert not same_bits(kept.network_, SMALL(epochs=30, lr=0.3).fit(X).network_)
    with pytest.raises(ValueError, match=r"validation_fraction must lie in \(0, 1\), but got 1"):
        SMALL(patience=1, validation_fraction=1).fit(X)
    with pytest.raises(ValueError, match="patience needs held-out rows, but 1 of 1 cannot be held out"):
        SMALL(patience=1).fit(X[:1])


def test_searches_may_give_numbers_of_numpy():
    settings = {"layers": np.array([8, 4]), "epochs": np.int64(2), "batch_size": np.int64(32)}
    assert same_bits(SMALL(**settings).fit(X).network_, SMALL().fit(X).network_)
    assert SMALL(epochs=(2, 1)).fit(X).transform(X).shape == (len(X), 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "sparce"}, r"variant must be one of adversarial, .*, or a class, but is 'sparce'"),
        ({"scale": "standard"}, "scale must be one of none, standardize, minmax, rank_gauss, but is 'standard'"),
        ({"layers": ()}, "a stack needs at least one layer"),
        ({"layers": (0,)}, "a Dense layer needs at least 1 unit, but got 0"),
        ({"epochs": 0}, "epochs must be >= 1, but got 0"),
        ({"accelerator": "abacus"}, "abacus"),
    ],
)
def test_a_wrong_setting_is_refused_by_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        SMALL(**settings).fit(X)


def test_rows_that_float32_would_spoil_are_refused():
    with pytest.raises(ValueError, match="values too close for float32"):
        SMALL().fit(1_700_000_000 + np.arange(40.0)[:, None])
    with pytest.raises(ValueError, match=r"must fit float32.*feature|must fit float32.*column"):
        SMALL().fit(np.full((4, 2), 1e39))


def test_codes_of_another_width_are_refused(encoder):
    with pytest.raises(ValueError, match="X must have the 4 features of a code, but has 6"):
        encoder.inverse_transform(X)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_the_encoder_of_a_run_stays_as_it_is_in_a_pipeline(folder, encoder):
    loaded = GreedyEncoder.from_run(folder)
    assert np.array_equal(loaded.transform(X), encoder.transform(X))
    pipeline = make_pipeline(loaded, LogisticRegression()).fit(X, Y)
    for used in (pipeline[0], clone(loaded).fit(X[:50]), GreedyEncoder(run=str(folder / "encoder")).fit(X)):
        assert np.array_equal(used.transform(X), encoder.transform(X))
        assert np.array_equal(used.score_samples(X), encoder.score_samples(X))
    with pytest.raises(ValueError, match="X has 5 features, but GreedyEncoder is expecting 6"):
        clone(loaded).fit(X[:, :5])


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_a_saved_encoder_keeps_every_bit_and_the_names_of_columns(encoder, tmp_path):
    again = GreedyEncoder.from_run(encoder.save(tmp_path / "saved"))
    assert np.array_equal(again.transform(X), encoder.transform(X))
    assert np.array_equal(again.score_samples(X), encoder.score_samples(X))
    with torch.no_grad():
        assert np.array_equal(ae.load_encoder(tmp_path / "saved")(torch.from_numpy(X)).numpy(), encoder.transform(X))
    pandas = pytest.importorskip("pandas")
    named = SMALL().fit(pandas.DataFrame(X, columns=list("abcdef")))
    assert ae.load_encoder(named.save(tmp_path / "named")).columns == list("abcdef")


def test_an_encoder_without_decoders_encodes_and_says_so(stack, tmp_path):
    trained, transform = stack
    ae.save_encoder(trained.encoder, tmp_path, in_shape=(6,), transform=transform)
    loaded = GreedyEncoder.from_run(GreedyEncoder.from_run(tmp_path).save(tmp_path / "again"))
    assert loaded.transform(X).shape == (len(X), 4)
    with pytest.raises(ValueError, match="rows cannot be reconstructed, because the encoder has no decoders"):
        loaded.score_samples(X)
    with pytest.raises(OSError, match=r"config\.json"):
        GreedyEncoder.from_run(tmp_path / "nowhere")


def test_pictures_of_a_run_are_given_as_rows(tmp_path):
    layer = ae.PlainAutoencoder((1, 2, 3), ae.Dense(4))
    ae.save_encoder(layer.encoder, tmp_path, in_shape=(1, 2, 3), decoders=[(layer.g, layer.L)])
    loaded = GreedyEncoder.from_run(tmp_path)
    assert loaded.inverse_transform(loaded.transform(X)).shape == X.shape
    assert loaded.n_features_in_ == 6


def test_columns_of_a_run_are_compared_by_name(folder):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    loaded = GreedyEncoder.from_run(folder).set_output(transform="pandas")
    assert loaded.transform(frame).columns.tolist() == [f"greedyencoder{k}" for k in range(4)]
    with pytest.raises(ValueError, match="same order"):
        loaded.transform(frame[list("bacdef")])


def test_the_encoder_of_a_table_takes_frames_with_text(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow

    table = pyarrow.table({"bird": NAMES, "mass": VALUES, "kind": Y})
    data = ae.Table(table, "kind")
    layer = ae.DenoisingAutoencoder(data.in_shape, ae.Dense(4), **data.layer_defaults)
    data.splits()
    decoders = [(layer.g, layer.L)]
    ae.save_encoder(
        layer.encoder, tmp_path, in_shape=data.raw_shape, transform=data.transform, columns=data.columns,
        decoders=decoders,
    )  # fmt: skip
    loaded = GreedyEncoder.from_run(tmp_path)
    codes = loaded.transform(table)
    classifier = PretrainedClassifier(loaded, epochs=30, lr=0.05, random_state=0).fit(table, Y)
    assert classifier.score(table, Y) > 0.8
    assert (ReconstructionOutlierDetector(loaded).fit(table).predict(table) == -1).sum() == 12
    assert np.array_equal(clone(loaded).fit(table).transform(table.select(["mass", "bird"])), codes)
    assert codes.shape == (len(X), 4)
    for wrong, reason in ((table.select(["mass"]), "lacks bird"), (X, "is of type ndarray")):
        with pytest.raises(ValueError, match=f"columns of the run, bird, mass, but {reason}"):
            loaded.transform(wrong)

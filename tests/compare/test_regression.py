"""A comparison with a real target: R² in points, errors of the test rows, baselines and arms of its own."""

import csv
import json
import shutil

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import r2_score, root_mean_squared_error

from aepretrain import Arrays, ConfigError, DenoisingAutoencoder, Dense, FineTuning, Pretraining, StorageError
from aepretrain.compare import Comparison, compare
from aepretrain.results.cell import CellResult, columns_of, read_rows
from aepretrain.results.comparison import ArmResult, BudgetResult, ComparisonResult
from aepretrain.results.predictions import Predictions
from aepretrain.results.run import RunResult
from aepretrain.results.statistics import r2_difference_error, r2_error, root_mean_square
from aepretrain.runs.experiment import Experiment
from aepretrain.tracking.comparison import scalar_metrics
from aepretrain.tracking.run import summary_of

X = np.random.default_rng(0).normal(size=(150, 4)).astype(np.float32)
Y = 200 + 30 * X @ np.array([1.0, -2.0, 0.5, 0.0]) + 25 * np.random.default_rng(1).normal(size=150)
OPTIONS = {
    "arms": ["pretrained", "random", "probe", "random-longer"],
    "seeds": 3,
    "labels": [20, None],
    "baselines": ["ridge", "knn", "mean"],
}


def experiment(**changes):
    layer = lambda shape: DenoisingAutoencoder(shape, Dense(5))  # noqa: E731
    lengths = {"pretrain": Pretraining(epochs=2), "finetune": FineTuning(epochs=4, batch_size=16)}
    return Experiment([layer], Arrays(X, Y), **{**lengths, "report": False, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The directory of a comparison, and its summary."""
    out = tmp_path_factory.mktemp("real")
    return out, compare(experiment(), Comparison(**OPTIONS), out)


def scores(out, arm, labels):
    return np.array([row.test_r2 for row in read_rows(out / "results.csv") if (row.arm, row.labels) == (arm, labels)])


def predictions(out, arm, labels):
    return [Predictions.read(out / "runs" / f"{arm}-{labels}-seed{seed}") for seed in range(3)]


def test_the_rows_hold_r2_rmse_and_mae_of_the_predictions(done):
    out, _ = done
    header, *_ = csv.reader((out / "results.csv").read_text().splitlines())
    assert header[:7] == ["arm", "seed", "labels", "validation_r2", "test_r2", "test_rmse", "test_mae"]
    rows = read_rows(out / "results.csv")
    assert len(rows) == 7 * 3 * 2
    for row in rows:
        found = predictions(out, row.arm, row.labels)[row.seed]
        assert row.score("test") == row.test_r2 == pytest.approx(r2_score(found.targets, found.predicted))
        assert row.test_rmse == pytest.approx(root_mean_squared_error(found.targets, found.predicted))
        assert row.test_mae == pytest.approx(np.abs(found.targets - found.predicted).mean())


@pytest.mark.parametrize("labels", [20, "all"])
def test_means_differences_and_errors_are_those_of_the_rows(labels, done):
    out, summary = done
    budget = next(each for each in summary.budgets if each.labels == labels)
    for arm, found in budget.arms.items():
        assert found.mean == pytest.approx(scores(out, arm, labels).mean())
        errors = [r2_error(each.targets, each.predicted) for each in predictions(out, arm, labels)]
        assert found.sampling_error == pytest.approx(root_mean_square(errors))
        own = [row for row in read_rows(out / "results.csv") if (row.arm, row.labels) == (arm, labels)]
        assert found.rmse == pytest.approx(np.mean([row.test_rmse for row in own]))
        assert found.mae == pytest.approx(np.mean([row.test_mae for row in own]))
    assert "pretrained - random-longer" in budget.differences
    for name, found in budget.differences.items():
        one, other = name.split(" - ")
        both = zip(predictions(out, one, labels), predictions(out, other, labels), strict=True)
        least = root_mean_square([r2_difference_error(a.targets, a.predicted, b.predicted) for a, b in both])
        d = scores(out, one, labels) - scores(out, other, labels)
        half = scipy.stats.t.ppf(0.975, 2) * max(d.std(ddof=1), least) / np.sqrt(3)
        assert found.interval == pytest.approx((d.mean() - half, d.mean() + half))
    assert budget.best == max(budget.arms, key=lambda arm: budget.arms[arm].mean)


def test_the_verdict_is_in_r2_points(done):
    _, summary = done
    assert summary.metric == "r2"
    for budget in summary.budgets:
        assert " R² points" in budget.verdict or budget.verdict.startswith("cannot tell")
        assert " R² points" in budget.longer_verdict


def test_all_arms_of_a_seed_are_tested_on_the_same_rows_and_trained_on_the_same_targets(done):
    out, _ = done
    for seed in range(3):
        targets = [predictions(out, arm, 20)[seed].targets for arm in (*OPTIONS["arms"], *OPTIONS["baselines"])]
        assert all(np.array_equal(targets[0], each) for each in targets)
        mean = predictions(out, "mean", 20)[seed].predicted
        train = Arrays(X, Y).with_split(seed).with_labels(20).splits(seed).train
        np.testing.assert_allclose(mean, train.y.double().mean().item(), rtol=1e-6)
    assert not np.array_equal(predictions(out, "mean", 20)[0].targets, predictions(out, "mean", 20)[1].targets)


def test_a_baseline_takes_the_setting_that_is_best_on_validation_data(done):
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    out, _ = done
    splits = Arrays(X, Y).with_split(1).splits(1)
    (x, y), validation, test = (
        tuple(part.numpy() for part in each.tensors()) for each in (splits.train, splits.validation, splits.test)
    )
    models = {alpha: make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(x, y) for alpha in (0.1, 1, 10, 100, 1000)}
    best = max(models, key=lambda alpha: models[alpha].score(*validation))
    row = CellResult.read(out / "runs" / "ridge-all-seed1" / "row.json")
    assert row.hyperparameters == {"alpha": best}
    assert row.test_r2 == pytest.approx(models[best].score(*test), rel=1e-4)


def test_named_again_it_trains_nothing_and_says_the_same(done, tmp_path):
    out, summary = done
    shutil.copytree(out, tmp_path / "again")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "again").glob("runs/*/row.json")}
    assert compare(experiment(), Comparison(**OPTIONS), tmp_path / "again") == summary
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert ComparisonResult.read(out / "summary.json").budgets[0].labels == 20
    (tmp_path / "again" / "runs" / "probe-20-seed1" / "predictions.npz").unlink()
    with pytest.raises(StorageError, match=r"probe-20-seed1 lacks the predictions of its test data"):
        compare(experiment(), Comparison(**OPTIONS), tmp_path / "again")


def test_the_settings_of_a_grid_are_chosen_on_validation_data(tmp_path):
    from aepretrain.compare import Trial

    lengths = (1, 8)
    trials = [
        Trial(experiment(finetune=FineTuning(epochs=n, batch_size=16)), settings={"finetune.epochs": n})
        for n in lengths
    ]
    options = Comparison(arms=["random"], seeds=1, baselines=[], grid={"finetune.epochs": list(lengths)})
    compare(experiment(), options, tmp_path, trials=trials)
    row = CellResult.read(tmp_path / "runs" / "random-all-seed0" / "row.json")
    assert row.hyperparameters == {"finetune.epochs": 8}
    results = json.loads((tmp_path / "runs" / "random-all-seed0" / "results.json").read_text())
    assert results["regressor"]["validation"]["r2"] == row.validation_r2


def test_baselines_are_those_for_the_labels():
    found = Comparison().for_data(Arrays(X, Y))
    assert found.baselines == ["ridge", "knn", "boosting", "mean"]
    images = Arrays(X.reshape(-1, 1, 2, 2), Y)
    assert Comparison().for_data(images).baselines == ["ridge", "knn", "mean"]
    with pytest.raises(ConfigError, match="for a real target are ridge, knn, boosting, mean, but got 'svm'"):
        Comparison(baselines=["svm"]).for_data(Arrays(X, Y))
    with pytest.raises(ConfigError, match="for classes are logistic, knn, svm, boosting, but got 'ridge'"):
        Comparison(baselines=["ridge"]).for_data(Arrays(X, np.arange(150) % 3))


def test_regressors_are_trained_one_seed_after_another(tmp_path, capsys):
    options = Comparison(arms=["random"], seeds=2, baselines=[])
    compare(experiment(), options, tmp_path / "auto", vectorize="auto")
    assert "the targets of a regressor are scaled for one seed" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ConfigError, match="the targets of a regressor are scaled for one seed"):
        compare(experiment(), options, tmp_path / "on", vectorize="on")


def test_a_baseline_that_is_better_than_every_network_is_named():
    arms = {"random": ArmResult(-0.2, 0.1, 0.05, 3), "mean": ArmResult(-0.01, 0.01, 0.01, 3)}
    budget = BudgetResult(labels=20, arms=arms, differences={}, verdict=None, best="mean")
    found = ComparisonResult("Table", 3, 1, 30, 30, (budget,), metric="r2")
    sentence = found.better_baselines(["mean"])
    assert sentence.startswith("A simple regression on the raw input is better than every network: ")
    assert sentence.endswith("mean at 20 labels (-0.0100 against -0.2000).")
    with pytest.raises(ValueError, match=r"mean must lie in \[0, 1\], but is -0.2"):
        ComparisonResult("Table", 3, 1, 30, 30, (budget,))


def test_loggers_get_the_scores_of_real_targets(done):
    out, summary = done
    logged = scalar_metrics(summary)
    assert logged["metric"] == "r2"
    assert {"mean", "rmse", "mae", "sampling_error"} <= logged["labels-20"]["ridge"].keys()
    found = summary_of(RunResult.read(out / "runs" / "pretrained-20-seed0" / "results.json"))
    assert {"test/r2", "test/rmse", "test/mae", "validation/r2", "finetune/epochs"} <= found.keys()
    assert columns_of(read_rows(out / "results.csv"))[3:7] == ("validation_r2", "test_r2", "test_rmse", "test_mae")


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({}, "validation_accuracy is missing"),
        ({"validation_accuracy": 0.5}, "test_accuracy is missing"),
        ({"test_r2": 0.5}, "validation_r2 is missing"),
        ({"test_r2": 1.01, "validation_r2": 0.5}, "test_r2 must be <= 1, but is 1.01"),
    ],
)
def test_a_row_without_its_scores_is_refused(scores, words):
    with pytest.raises(ValueError, match=words):
        CellResult("random", 0, 20, **scores)

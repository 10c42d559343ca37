"""A comparison of reconstructions: the same network from pretrained and random weights, and principal components."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
import yaml
from sklearn.decomposition import PCA
from torch.nn import functional as F

import aepretrain as ae
from aepretrain import Arrays, ConfigError, DenoisingAutoencoder, Dense, FineTuning, PlainAutoencoder, Pretraining
from aepretrain.cli.main import main
from aepretrain.compare import Comparison, check_comparison, compare
from aepretrain.errors import StorageError
from aepretrain.results.cell import CellResult, read_rows
from aepretrain.results.comparison import ComparisonResult
from aepretrain.results.row_errors import RowErrors
from aepretrain.results.run import RunResult
from aepretrain.results.statistics import mean_error, root_mean_square
from aepretrain.runs.experiment import Experiment
from aepretrain.runs.loading import load_layers
from aepretrain.tracking.comparison import scalar_metrics
from aepretrain.tracking.run import summary_of

X = (np.random.default_rng(0).random((150, 12)) ** 2).astype(np.float32)
X[:, 6:] = X[:, :6] ** 0.5  # twelve values that follow from six
LAYERS = [
    lambda shape: DenoisingAutoencoder(shape, Dense(9), likelihood=ae.Bernoulli()),
    lambda shape: PlainAutoencoder(shape, Dense(4, code_activation="linear"), likelihood=ae.Bernoulli()),
]
ARMS = ["pretrained", "random", "probe", "random-longer"]


def experiment(**changes):
    lengths = {"pretrain": Pretraining(epochs=2, batch_size=16, unroll=3), "finetune": FineTuning(epochs=0)}
    return Experiment(LAYERS, **{"data": Arrays(X), **lengths, "report": False, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The directory of a comparison, and its summary."""
    out = tmp_path_factory.mktemp("deep")
    return out, compare(experiment(), Comparison(arms=ARMS, seeds=3), out)


def cell(out, arm, seed=0):
    return out / "runs" / f"{arm}-all-seed{seed}"


def splits(seed=0):
    return Arrays(X).with_split(seed).splits(seed)


def weights(stack):
    return torch.cat([parameter.flatten() for parameter in stack.parameters()])


def test_the_rows_hold_the_means_of_the_errors_of_single_test_examples(done):
    out, _ = done
    header, *_ = csv.reader((out / "results.csv").read_text().splitlines())
    scores = ["validation_squared_error", "test_squared_error", "validation_nats", "test_nats"]
    assert header[3:7] == scores
    rows = read_rows(out / "results.csv")
    assert len(rows) == 5 * 3
    for row in rows:
        errors = RowErrors.read(cell(out, row.arm, row.seed))
        assert len(errors.nats) == len(splits(row.seed).test) == 30
        for name in ("squared_error", "nats"):
            assert row.score("test", name) == pytest.approx(errors.arrays[name].mean())


@torch.no_grad()
@pytest.mark.parametrize("arm", ["pretrained", "random"])
def test_the_errors_are_those_of_the_trained_network(arm, done):
    out, _ = done
    stack = ae.GreedyStack((12,), LAYERS, seed=1)
    deep = ae.pretraining.unroll.unroll(list(stack))
    from aepretrain.storage.weight_files import read_weights

    read_weights(cell(out, arm, 1) / "stages" / "unrolled" / "model.safetensors", deep)
    x = splits(1).test.x
    logits = stack.layers[0].g(torch.sigmoid(stack.layers[1].g(stack.encode(x))))
    errors = RowErrors.read(cell(out, arm, 1))
    squared = (x - torch.sigmoid(logits)).square().sum(dim=1)
    np.testing.assert_allclose(errors.squared_error, squared, rtol=1e-4)
    nats = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=1)
    np.testing.assert_allclose(errors.nats, nats, rtol=1e-5)


def test_principal_components_are_fitted_on_training_rows_alone_and_kept_off_0_and_1_for_nats(done):
    out, _ = done
    own = splits(2)
    pca = PCA(4).fit(own.unlabelled.double().numpy())
    x = own.test.x.double().numpy()
    again = pca.inverse_transform(pca.transform(x))
    errors = RowErrors.read(cell(out, "pca", 2))
    np.testing.assert_allclose(errors.squared_error, np.square(x - again).sum(axis=1), rtol=1e-6)
    p = np.clip(again, 1e-6, 1 - 1e-6)
    np.testing.assert_allclose(errors.nats, -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=1), rtol=1e-5)
    assert ((again < 0) | (again > 1)).any()
    row = CellResult.read(cell(out, "pca", 2) / "row.json")
    assert row.hyperparameters == {"components": 4}
    assert (row.epochs, row.steps) == (None, None)


def test_arms_begin_from_pretrained_or_random_weights_and_share_batches_and_budget(done, tmp_path):
    out, _ = done
    for seed in range(3):
        rows = {arm: CellResult.read(cell(out, arm, seed) / "row.json") for arm in ARMS}
        steps = {arm: rows[arm].steps for arm in ARMS}
        assert steps["pretrained"] == steps["random"] == 3 * 6
        assert (rows["probe"].epochs, steps["probe"]) == (0, 0)
        assert steps["random-longer"] == 3 * steps["random"]  # 18 of its own, and 2 x 12 of two layers
        assert rows["random-longer"].hyperparameters == {"budget": "3x"}
    whole = ae.GreedyStack((12,), LAYERS, seed=1).fit(
        Arrays(X).with_split(1), Pretraining(2, 16, unroll=3), ae.RunContext(1, progress=False)
    )
    for arm, epochs in (("pretrained", 2), ("random", 0)):
        alone = ae.GreedyStack((12,), LAYERS, seed=1).fit(
            Arrays(X).with_split(1), Pretraining(epochs, 16, unroll=3), ae.RunContext(1, progress=False)
        )
        found = RunResult.read(cell(out, arm, 1) / "results.json").stages[0].losses.reconstruction
        assert found == alone.records[-1].metrics["val/reconstruction"]
    layers = ae.GreedyStack((12,), LAYERS, seed=1)
    load_layers(layers, out / "runs" / "pretraining-seed1")
    assert layers.records == []
    assert not torch.equal(weights(layers), weights(whole))
    probe = RunResult.read(cell(out, "probe", 1) / "results.json").stages[0]
    deep = ae.pretraining.unroll.unroll(list(layers)).eval()
    loss = deep.energy(splits(1).validation.x).mean().item()
    assert probe.losses.reconstruction == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("metric", ["squared_error", "nats"])
def test_means_differences_and_verdicts_are_those_of_the_rows(metric, done):
    out, summary = done
    (budget,) = summary.budgets if metric == "squared_error" else summary.also[0].budgets
    rows = read_rows(out / "results.csv")
    scores = {arm: [row.score("test", metric) for row in rows if row.arm == arm] for arm in (*ARMS, "pca")}
    errors = {arm: [RowErrors.read(cell(out, arm, seed)).arrays[metric] for seed in range(3)] for arm in scores}
    for arm, found in budget.arms.items():
        assert found.mean == pytest.approx(np.mean(scores[arm]))
        assert found.std == pytest.approx(np.std(scores[arm], ddof=1))
        assert found.sampling_error == pytest.approx(root_mean_square([mean_error(each) for each in errors[arm]]))
    assert budget.best == min(budget.arms, key=lambda arm: budget.arms[arm].mean)
    assert {"pretrained - random", "pretrained - random-longer", "pretrained - pca"} <= budget.differences.keys()
    for name, found in budget.differences.items():
        one, other = name.split(" - ")
        d = np.subtract(scores[one], scores[other])
        least = root_mean_square([mean_error(a - b) for a, b in zip(errors[one], errors[other], strict=True)])
        half = scipy.stats.t.ppf(0.975, 2) * max(d.std(ddof=1), least) / np.sqrt(3)
        assert found.interval == pytest.approx((d.mean() - half, d.mean() + half))
        assert found.losses == (d < 0).sum()
    assert "at all examples" in budget.verdict
    assert (" in squared error" if metric == "squared_error" else " nats") in budget.verdict


def test_the_margin_of_an_error_is_a_percentage_of_what_the_second_arm_has():
    from aepretrain.compare.summary import summarize
    from aepretrain.results.run import DataFacts

    facts = DataFacts("Windows", (12,), None, unlabelled=90, labelled=0, validation=30, test=30)
    comparison = Comparison(arms=["pretrained", "random"], seeds=3, baselines=[], margin=2.0)
    values = np.full(30, 50.0)

    def verdicts(gain, spread):
        rows = [
            CellResult(each.arm, each.seed, "all", **dict.fromkeys(NAMES, 50 - (each.arm == "pretrained") * d))
            for each in comparison.cells()
            for d in [gain + spread * (each.seed - 1)]
        ]
        summary = summarize(rows, comparison, facts, lambda row: RowErrors(values, values))
        return summary.budgets[0].verdict, summary.also[0].budgets[0].verdict

    assert verdicts(0.2, 0.2)[0].startswith("no difference seen: -0.20 in squared error [-0.70, 0.30] at all examples")
    assert verdicts(0.2, 0.5)[0].startswith("undecided: between -1.44 and +1.04 in squared error at all examples")
    assert verdicts(9.0, 0.2)[1] == "helps: -9.00 nats [-9.50, -8.50] at all examples, 3 of 3 seeds"
    assert verdicts(-9.0, 0.2)[0].startswith("hurts: +9.00 in squared error [8.50, 9.50] at all examples, 3 of 3 seeds")


NAMES = ("validation_squared_error", "test_squared_error", "validation_nats", "test_nats")


def test_named_again_it_trains_nothing_and_says_the_same(done, tmp_path):
    out, summary = done
    shutil.copytree(out, tmp_path / "again")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "again").glob("runs/*/row.json")}
    assert compare(experiment(), Comparison(arms=ARMS, seeds=3), tmp_path / "again") == summary
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert ComparisonResult.read(out / "summary.json") == summary
    (cell(tmp_path / "again", "probe", 1) / "errors.npz").unlink()
    with pytest.raises(StorageError, match="probe-all-seed1 lacks the errors of its test examples"):
        compare(experiment(), Comparison(arms=ARMS, seeds=3), tmp_path / "again")


def test_the_folder_of_reconstructions_takes_no_comparison_with_a_head(tmp_path):
    data, options = Arrays(X, np.arange(len(X)) % 2), Comparison(arms=["random"], seeds=1, baselines=[])
    compare(experiment(data=data), options, tmp_path)
    with pytest.raises(StorageError, match=r"row\.json holds the squared error of a network .* Name a new folder"):
        compare(experiment(data=data, finetune=FineTuning(epochs=1)), options, tmp_path)


def test_loggers_get_squared_error_and_nats(done):
    out, summary = done
    logged = scalar_metrics(summary)
    assert logged["metric"] == "squared_error"
    assert {"mean", "std", "sampling_error"} <= logged["labels-all"]["pca"].keys()
    assert logged["nats"]["labels-all"]["pretrained"]["mean"] == summary.also[0].budgets[0].arms["pretrained"].mean
    found = summary_of(RunResult.read(cell(out, "random") / "results.json"))
    assert {"test/squared_error", "test/nats", "validation/nats", "reconstruction/test/pca_nats"} <= found.keys()


def test_a_cell_that_was_stopped_after_its_training_goes_on_to_the_same_row(done, tmp_path, monkeypatch):
    options = Comparison(arms=["pretrained"], seeds=1, baselines=[])
    with monkeypatch.context() as patch:
        patch.setattr("aepretrain.compare.reconstruction.measure_reconstruction", None)
        with pytest.raises(TypeError, match="not callable"):
            compare(experiment(), options, tmp_path)
    compare(experiment(), options, tmp_path)
    rows = [CellResult.read(cell(out, "pretrained") / "row.json") for out in (done[0], tmp_path)]
    assert replace(rows[0], seconds=None) == replace(rows[1], seconds=None)


REFUSED = {
    "neither labels nor unroll": (
        {"pretrain": Pretraining(2)}, {}, r"labels and finetune.epochs >= 1, or pretrain.unroll >= 1 to compare recons"
    ),
    "layers that never train": (
        {"pretrain": Pretraining(0, unroll=2)}, {}, "pretrain.epochs must be >= 1 in a comparison, but got 0"
    ),
    "label budgets": ({}, {"labels": [20, None]}, r"compare.labels must be \[null\] for reconstructions, but got \["),
    "a grid": ({}, {"grid": {"finetune.epochs": [1]}}, "compare.grid tries settings of a head, but reconstructions"),
    "a classifier as baseline": ({}, {"baselines": ["svm"]}, "baselines for reconstructions are pca, but got 'svm'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_reconstructions_lack_is_refused(name, tmp_path):
    changes, options, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        compare(experiment(**changes), Comparison(**options), tmp_path)
    assert not any(tmp_path.iterdir())


def test_heads_and_reconstructions_are_not_compared_with_one_another():
    data = Arrays(X, np.arange(150) % 3)
    control = experiment(data=data, finetune=FineTuning(epochs=1))
    arms = Comparison(arms=["random", "control-random"])
    with pytest.raises(ConfigError, match="the network under test has no head, but the control has"):
        check_comparison(experiment(data=data), arms, control)
    with pytest.raises(ConfigError, match=r"a comparison needs labels and finetune.epochs >= 1\. "):
        check_comparison(control, arms, experiment(data=data))
    with pytest.raises(ConfigError, match="baselines for classes are logistic, knn, svm, boosting, but got 'pca'"):
        Comparison(baselines=["pca"]).for_data(data)


def test_seeds_are_trained_one_after_another(tmp_path):
    options = Comparison(arms=["random"], seeds=2, baselines=[])
    with pytest.raises(ConfigError, match="all layers together are trained one seed after another"):
        compare(experiment(), options, tmp_path / "on", vectorize="on")
    found = compare(experiment(), options, tmp_path / "auto", vectorize="auto")
    assert found == compare(experiment(), options, tmp_path / "off")


def test_a_control_is_compared_in_the_same_errors(tmp_path):
    arms = ["pretrained", "control-pretrained", "control-random"]
    control = replace(experiment(), layers=[LAYERS[0], lambda s: PlainAutoencoder(s, Dense(2))])
    found = compare(experiment(), Comparison(arms=arms, seeds=1, baselines=["pca"]), tmp_path, control=control)
    (budget,) = found.budgets
    assert {"control-pretrained - control-random", "pretrained - control-pretrained"} <= budget.differences.keys()
    assert budget.control_verdict.startswith("cannot tell at all examples: 1 seed is too few")


CONFIG = {
    "data": {"class_path": "Digits"},
    "layers": [
        {"class_path": "DenoisingAutoencoder", "init_args": {"coder": coder, "likelihood": "Bernoulli"}}
        for coder in (
            {"class_path": "Dense", "init_args": {"features": 20}},
            {"class_path": "Dense", "init_args": {"features": 5}},
        )
    ],
    "pretrain": {"epochs": 1, "batch_size": 64, "unroll": 2},
    "finetune": {"epochs": 0},
    "compare": {"arms": ["pretrained", "random", "random-longer"], "seeds": 3},
    "loggers": [],
    "report": False,
}


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The directory of a comparison by command."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "deep.yaml").write_text(yaml.safe_dump(CONFIG))
    assert main(["compare", "--config", str(folder / "deep.yaml"), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_the_command_prints_both_metrics(command, capsys):
    words = ["compare", "--config", str(command.parent / "deep.yaml"), "--out", str(command)]
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "test squared error per example: mean ± standard deviation over seeds" in said
    assert "test nats per example: mean ± standard deviation over seeds" in said
    assert "the epoch chosen on 300 validation examples; tested once per cell on 300 examples" in said
    assert said.count(" in squared error") >= 2
    assert "The squared error is summed over the features of an example: the smaller, the better." in said


def test_the_config_of_a_pretraining_is_that_of_the_layers_alone(command):
    config = yaml.safe_load((command / "runs" / "pretraining-seed1" / "config.yaml").read_text())
    assert config["pretrain"]["unroll"] == 0
    assert "compare" not in config


@pytest.mark.parametrize("arm", ["pretrained", "random", "random-longer"])
def test_fit_repeats_every_cell(arm, command, tmp_path):
    words = ["fit", "--config", str(cell(command, arm, 1) / "config.yaml"), "--out", str(tmp_path / "run")]
    assert main(words) == 0
    again, found = (RunResult.read(path / "results.json") for path in (tmp_path / "run", cell(command, arm, 1)))
    assert again.reconstruction == found.reconstruction
    assert again.stages[-1].steps == found.stages[0].steps


def test_a_finished_run_is_read_with_all_layers_as_they_were_trained_together(command, tmp_path):
    """Its samples are those of the whole, as its codes are."""
    words = ["fit", "--config", str(cell(command, "pretrained") / "config.yaml"), "--out", str(tmp_path / "run")]
    assert main(words) == 0
    assert main(["sample", str(tmp_path / "run"), "--reconstruct", "4", "--out", str(tmp_path / "rows.npz")]) == 0
    with np.load(tmp_path / "rows.npz") as rows:
        expected = ae.load_autoencoder(tmp_path / "run" / "encoder").reconstruct(torch.from_numpy(rows["original"]))
        np.testing.assert_allclose(rows["reconstructed"], expected.detach(), rtol=1e-4, atol=1e-4)

"""Seeds that are trained at once: what is refused, what they start from, and the files that they leave."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.optim import LBFGS, SGD

from aepretrain import Arrays, Classifier, ConfigError, DenoisingAutoencoder, Dense, DivergedError, load_encoder
from aepretrain.compare import Cell, Trial
from aepretrain.compare.ensembles import (
    finetune_seeds,
    pretrain_seeds,
    reason_finetuning_not_batched,
    starting_point,
)
from aepretrain.data.examples import Examples
from aepretrain.ensembles import train
from aepretrain.results.run import RunResult
from aepretrain.tracking.options import Tracking
from tests.support.comparisons import small_bench, small_experiment
from tests.support.tables import X, Y

QUIET = Tracking(loggers=())
DIVERGED = "one seed after another, because with all at once one diverged: "


class Rows:
    """Inputs that are read from a file."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        return self.x[rows]

    @property
    def shape(self):
        return self.x.shape


class InFiles(Arrays):
    """A table of which some inputs are in files: those of one split, of one seed or of all."""

    where = ("train", None)

    def splits(self, seed=0):
        whole, (name, only) = super().splits(seed), self.where
        if only not in (None, seed):
            return whole
        examples = getattr(whole, name)
        return replace(whole, **{name: Examples(Rows(examples.x), examples.y)})


def seeds(**changes):
    """The experiments of two seeds."""
    return [small_experiment(seed=seed, **changes) for seed in (0, 1)]


def run_folders(path):
    made = [path / f"pretraining-seed{seed}" for seed in (0, 1)]
    for folder in made:
        (folder / "stages" / "classifier").mkdir(parents=True)
    return made


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (("train", None), "their inputs are read from files"),
        (("train", 0), "their inputs are read from files"),
        (("train", 1), "their inputs are read from files"),
        (("validation", None), "their inputs are read from files"),
        (("validation", 0), "their inputs are read from files"),
        (("test", None), None),
    ],
)
def test_inputs_in_files_keep_classifiers_of_seeds_apart(where, reason, monkeypatch):
    monkeypatch.setattr(InFiles, "where", where)
    experiments = seeds(data=InFiles(X[:60], Y[:60]))
    assert reason_finetuning_not_batched(experiments, "a", "on") == reason


def test_what_stands_against_classifiers_at_once_is_refused_by_name_only_where_it_must():
    slow = seeds(on_nan="skip")
    reason = "on_nan skip leaves out the updates of one seed"
    assert reason_finetuning_not_batched(slow, "random, 30 labels", "auto") == reason
    with pytest.raises(ConfigError, match=rf"^random, 30 labels: the seeds cannot be trained at once: {reason}\."):
        reason_finetuning_not_batched(slow, "random, 30 labels", "on")
    assert reason_finetuning_not_batched(seeds(), "a", "off") == "vectorize is off"


def test_a_classifier_starts_from_a_copy_of_the_pretrained_encoder_or_from_random_weights(tmp_path):
    bench, experiment = small_bench(tmp_path), small_experiment(seed=3)
    encoder, expected = starting_point(experiment, None)
    assert expected is None
    torch.testing.assert_close(encoder.state_dict(), experiment.build_stack().encoder.state_dict(), rtol=0, atol=0)
    saved = bench.pretrain(0, control=False)
    encoder, expected = starting_point(experiment, saved)
    for module in (encoder, expected):
        torch.testing.assert_close(module.state_dict(), load_encoder(saved).layers.state_dict(), rtol=0, atol=0)
    next(encoder.parameters()).data += 1
    assert not torch.equal(next(encoder.parameters()), next(expected.parameters()))


def no_batch(shape):
    return DenoisingAutoencoder(shape, Dense(4), optimizer=LBFGS)


def batch(shape):
    return DenoisingAutoencoder(shape, Dense(3))


LBFGS_STANDS = "the optimizer LBFGS does not treat every weight by itself"


@pytest.mark.parametrize(
    ("layers", "vectorize", "done"),
    [((batch,), "auto", True), ((no_batch,), "auto", False), ((batch, no_batch), "auto", True), ((batch,), "on", True)],
)
def test_seeds_are_pretrained_at_once_if_any_layer_gains(layers, vectorize, done, tmp_path, capsys):
    experiments = [replace(each, layers=list(layers)) for each in seeds()]
    folders = run_folders(tmp_path)
    assert pretrain_seeds(experiments, folders, QUIET, vectorize) is done
    said = capsys.readouterr().out
    assert (f"pretraining  one seed after another: {LBFGS_STANDS}\n" in said) is not done
    assert all((folder / "results.json").is_file() is done for folder in folders)
    if len(layers) == 2:
        assert f"01-denoising  2 seeds one after another: {LBFGS_STANDS}" in said


def test_a_layer_that_cannot_be_pretrained_at_once_is_refused_by_name(tmp_path):
    experiments = [replace(each, layers=[batch, no_batch]) for each in seeds()]
    with pytest.raises(ConfigError, match=rf"^01-denoising: the seeds cannot be trained at once: {LBFGS_STANDS}"):
        pretrain_seeds(experiments, run_folders(tmp_path), QUIET, "on")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_layers_that_gain_nothing_are_pretrained_at_once_if_that_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "MAX_LAYER_SIZE", 1)
    assert pretrain_seeds(seeds(), run_folders(tmp_path / "auto"), QUIET, "auto") is False
    assert "one seed after another: matrices of" in capsys.readouterr().out
    assert pretrain_seeds(seeds(), run_folders(tmp_path / "on"), QUIET, "on") is True
    assert "one after another" not in capsys.readouterr().out


def test_pretraining_at_once_leaves_the_files_of_pretraining_alone(tmp_path):
    alone, together = (small_bench(tmp_path / name) for name in ("alone", "together"))
    for seed in (0, 1):
        alone.pretrain(seed, control=False)
    assert together.pretrain_many([0, 1], control=False, vectorize="auto") is True
    for seed in (0, 1):
        one, other = (bench.runs / f"pretraining-seed{seed}" for bench in (alone, together))
        names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (one, other)]
        assert names[0] == names[1]
        for file in ("stages/inputs.npz", "stages/00-denoising/samples.npz"):
            with np.load(one / file) as first, np.load(other / file) as second:
                assert {*first} == {*second}
                for name in first:
                    np.testing.assert_allclose(first[name], second[name], rtol=1e-4, atol=1e-5)
        expected, found = (RunResult.read(folder / "results.json") for folder in (one, other))
        assert (found.seed, found.stages[0].steps, found.stages[0].kept_epoch) == (
            expected.seed, expected.stages[0].steps, expected.stages[0].kept_epoch
        )  # fmt: skip


STEEP = partial(SGD, lr=1e30)


def test_seeds_that_diverge_at_once_are_left_to_be_run_alone(tmp_path, capsys):
    steep = partial(DenoisingAutoencoder, coder=Dense(4), optimizer=STEEP)
    folders = run_folders(tmp_path / "layers")
    assert pretrain_seeds([replace(each, layers=[steep]) for each in seeds()], folders, QUIET, "on") is False
    assert f"{DIVERGED}00-denoising: the loss of epoch" in capsys.readouterr().out
    folders = run_folders(tmp_path / "heads")
    experiments = seeds(classifier=partial(Classifier, optimizer=STEEP))
    assert finetune_seeds(experiments, folders, [None, None]) is None
    assert f"{DIVERGED}classifier: the loss of epoch" in capsys.readouterr().out
    bench, cells = small_bench(tmp_path, trials=[Trial(experiments[0])]), [Cell("random", seed, 30) for seed in (0, 1)]
    assert bench.run_many(cells) == []
    with pytest.raises(DivergedError, match=r"^classifier: val/loss of epoch 0 is nan"):
        bench.run(cells[0])


@pytest.mark.parametrize("pretrained", [True, False])
def test_fine_tuning_at_once_checks_that_pretrained_weights_arrived_and_closes_every_stage(pretrained, tmp_path):
    bench, folders = small_bench(tmp_path), run_folders(tmp_path)
    saved = [bench.pretrain(seed, control=False) if pretrained else None for seed in (0, 1)]
    tuned = finetune_seeds(seeds(), folders, saved)
    assert [each.weights_arrived for each in tuned] == [True if pretrained else None] * 2
    for folder in folders:
        assert (folder / "stages" / "classifier" / "curves.png").is_file()
        assert '"finished"' in (folder / "state.json").read_text()


def test_cells_that_were_run_at_once_are_finished_and_know_that_their_weights_arrived(tmp_path):
    bench = small_bench(tmp_path)
    cells = [Cell("pretrained", seed, 30) for seed in (0, 1)]
    rows = dict(bench.run_many(cells))
    for cell in cells:
        assert bench.run(cell) == rows[cell]
        assert RunResult.read(bench.runs / cell.name / "results.json").classifier.weights_arrived is True

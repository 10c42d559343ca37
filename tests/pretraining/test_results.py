"""What a stack says of its trained layers: summaries, results, findings."""

import pytest
import torch
from torch import nn

from aepretrain import Arrays, Dense, GreedyStack, PlainAutoencoder, Pretraining, RunContext, VariationalAutoencoder
from aepretrain.layers.diagnostics import StageDiagnostics
from aepretrain.pretraining.stage_results import CLOSING_EXAMPLES
from aepretrain.results.stage import StageLosses, StageRecord, StageResult
from tests.layers.test_measures import Encodes

QUIET = RunContext(progress=False)
X = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
METRICS = {
    "train/loss": 3.0, "val/loss": 2.5, "val/reconstruction": 1.25, "val/dead_units": 2.0, "epoch_seconds": 0.1,
    "val/active_share": 0.75,
}  # fmt: skip


def plain(shape):
    return PlainAutoencoder(shape, Dense(4))


def trained(*layers, metrics=METRICS, scalars=None, units=None):
    """A stack with these figures for its last layer, whose second epoch of three was kept."""
    stack = GreedyStack((2, 3), layers)
    history = [{"train/loss": 9.0}, metrics, {"train/loss": 8.0}]
    for stage in stack.stages:
        stack.records.append(StageRecord(stage, 3, 1, 30, 75.0, history, "cpu", 1, skipped_steps=5))
        stack.diagnostics.append(StageDiagnostics(scalars or {"identity_score": 0.456}, units or {}))
    return stack


def test_a_summary_holds_sizes_time_loss_and_what_is_known_of_the_code():
    stack = trained(plain, plain)
    begin = "{}  {} to 4  3 epochs in 1 min 15 s  reconstruction 1.25 nats  dead units 2 of 4  identity 0.46"
    assert stack.summary(0) == begin.format("00-plain", 6, 4)
    assert stack.summary(1) == begin.format("01-plain", 4, 4)
    figures = {"identity_score": float("nan"), "used_units": 3.0}
    known = trained(plain, scalars=figures, metrics={"val/reconstruction": 1.25})
    expected = "00-plain  6 to 4  3 epochs in 1 min 15 s  reconstruction 1.25 nats  uses 3 of 4 dimensions  identity "
    assert known.summary(0) == f"{expected}not defined"
    assert "reconstruction - nats" in trained(plain, metrics={}).summary(0)


def test_a_result_is_that_of_the_kept_epoch_and_the_closing_diagnostics():
    stack = trained(plain, scalars={"identity_score": float("nan"), "mean_reconstruction": 2.0}, units={"kl": (0.5,)})
    (found,) = stack.results()
    assert found == stack.result(0) == StageResult(
        stage="00-plain", variant="plain", in_shape=(2, 3), code_shape=(4,), epochs=3, kept_epoch=1, steps=30,
        seconds=75.0, skipped_steps=5, losses=StageLosses(3.0, 2.5, 1.25),
        diagnostics={"dead_units": 2.0, "active_share": 0.75, "identity_score": None, "mean_reconstruction": 2.0},
        units={"kl": (0.5,)},
    )  # fmt: skip
    assert trained(plain).result(0).units is None


@pytest.mark.parametrize(("scaled", "told"), [(False, [True, False]), (True, [False, False])])
def test_scaling_the_inputs_is_a_way_out_for_the_first_layer_of_data_that_are_not_scaled(scaled, told):
    figures = {"identity_score": 0.5, "mean_reconstruction": 1.0}
    stack = trained(plain, plain, scalars=figures)
    stack.is_scaled = scaled
    found = [[each for each in stack.findings(k) if "no better than the mean" in each] for k in (0, 1)]
    assert ["scale the inputs" in sentence for (sentence,) in found] == told


def test_data_with_a_transform_are_scaled():
    for transform, scaled in ((None, False), ("standardize", True)):
        stack = GreedyStack((6,), [plain])
        assert stack.is_scaled is False
        data = Arrays(X, transform=transform) if transform else Arrays(X)
        assert stack.fit(data, Pretraining(1), QUIET).is_scaled is scaled


def test_a_stack_has_decoders_if_all_of_its_layers_have():
    stack = GreedyStack((3,), [plain, plain])
    assert [(g, likelihood) for g, likelihood in stack.decoders] == [(layer.g, layer.L) for layer in stack]
    assert GreedyStack((3,), [lambda shape: Encodes()]).decoders is None
    assert stack.code_shape == (4,)


def test_the_encoder_can_be_trained_and_knows_its_inputs():
    stack = GreedyStack((2, 3), [plain, plain])
    stack.requires_grad_(False)
    encoder = stack.encoder
    assert encoder.in_shape == (2, 3)
    assert all(weights.requires_grad for weights in encoder.parameters())
    assert not any(weights.requires_grad for weights in stack.parameters())
    stack.requires_grad_(True)
    for answer in (
        stack.encode(X.reshape(-1, 2, 3)),
        stack(X.reshape(-1, 2, 3)),
        stack.reconstruct(X.reshape(-1, 2, 3)),
    ):
        assert answer.requires_grad


def test_a_stack_can_be_built_of_numbered_layers_beyond_ten():
    stages = GreedyStack((4,), [plain] * 11).stages
    assert (stages[0], stages[10]) == ("00-plain", "10-plain")


def test_identity_scores_depend_on_the_seed_and_the_stage_alone():
    def scores(seed):
        torch.rand(3)
        return GreedyStack((6,), [plain, plain]).fit(Arrays(X), Pretraining(1), RunContext(seed, progress=False))

    one, again, other = scores(0), scores(0), scores(1)
    assert one.identity_scores == again.identity_scores
    assert one.identity_scores == [closing.scalars["identity_score"] for closing in one.diagnostics]
    assert one.identity_scores != other.identity_scores
    assert len(set(one.identity_scores)) == 2


def test_a_stage_ends_with_its_first_thousand_validation_inputs(capsys):
    x = torch.rand(3000, 6, generator=torch.Generator().manual_seed(0))
    data, seen = Arrays(x, validation=0.5, test=0.1), []
    stack = GreedyStack((6,), [plain])
    stack.fit(data, Pretraining(1, 512), RunContext(), on_stage_end=lambda *end: seen.append(end))
    ((layer, record, examples),) = seen
    assert (layer, record) == (stack.layers[0], stack.records[0])
    assert torch.equal(examples, data.splits().validation.x[:1000])
    assert CLOSING_EXAMPLES == 1000
    said = capsys.readouterr().out
    assert stack.summary(0) in said
    assert all(f"warning: {sentence}" in said for sentence in stack.findings(0))
    assert stack.findings(0)


def test_no_progress_is_no_word(capsys):
    GreedyStack((6,), [plain]).fit(Arrays(X), Pretraining(1), QUIET)
    assert capsys.readouterr().out == ""


def test_layers_that_can_copy_are_named_with_their_narrowest_width():
    wide = lambda shape: PlainAutoencoder(shape, Dense(9, hidden=(8,)))  # noqa: E731
    (sentence,) = GreedyStack((2, 3), [plain, lambda s: VariationalAutoencoder(s, Dense(9)), wide][::-1]).warnings()
    assert sentence == (
        "layer 0 (00-plain) is overcomplete (8 units for 6 inputs) and has no regularizer: it can learn the trivial "
        "identity. Use fewer units, or a variant with noise or a penalty."
    )


def test_initial_weights_come_back():
    stack = GreedyStack((6,), [plain, plain])
    before = {name: tensor.clone() for name, tensor in stack.state_dict().items()}
    stack.fit(Arrays(X), Pretraining(1), QUIET)
    nn.init.ones_(stack.layers[1].f.affine.weight)
    stack.reset_parameters()
    assert (stack.records, stack.diagnostics) == ([], [])
    for name, tensor in stack.state_dict().items():
        assert torch.equal(tensor, before[name]), name

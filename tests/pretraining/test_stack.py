import pytest
import torch
from lightning.pytorch import LightningModule

from aepretrain import (
    Arrays,
    Bernoulli,
    Categorical,
    ConfigError,
    DataError,
    DenoisingAutoencoder,
    Dense,
    Digits,
    GreedyStack,
    PlainAutoencoder,
    Pretraining,
    RunContext,
    SparseAutoencoder,
    VariationalAutoencoder,
    load_encoder,
    save_encoder,
)
from tests.support.variants import LAYERS, make

QUIET = RunContext(progress=False)


def two_layers():
    torch.manual_seed(0)
    return GreedyStack(
        Digits.in_shape,
        [
            lambda shape: DenoisingAutoencoder(shape, Dense(20), likelihood=Bernoulli()),
            lambda shape: SparseAutoencoder(shape, Dense(8), lam=0.01),
        ],
    )


def test_training_the_second_layer_leaves_the_first_bitwise_unchanged():
    stack, first = two_layers(), {}

    def remember(layer, record, x):
        if record.stage == "00-denoising":
            first.update({name: tensor.clone() for name, tensor in layer.state_dict().items()})

    stack.fit(Digits(), Pretraining(epochs=2), QUIET, on_stage_end=remember)
    assert first
    for name, tensor in stack.layers[0].state_dict().items():
        assert torch.equal(tensor, first[name]), name


@pytest.mark.parametrize("name", LAYERS)
def test_a_finished_layer_stays_as_it_is_is_encoded_once_and_reloads_bitwise(name, tmp_path):
    layer = lambda shape: make(name, in_shape=shape, coder=Dense(6))  # noqa: E731
    stack, finished, calls = GreedyStack((1, 8, 8), [layer, layer]), {}, []

    def close(layer, record, x):
        if record.stage.startswith("00"):
            finished.update({key: tensor.clone() for key, tensor in layer.state_dict().items()})
            layer.f.register_forward_hook(lambda *args: calls.append(args))

    stack.fit(Digits(), Pretraining(epochs=2, batch_size=64), QUIET, on_stage_end=close)
    assert len(calls) == 2  # once for the training, once for the validation inputs
    for key, tensor in stack.layers[0].state_dict().items():
        assert torch.equal(tensor, finished[key]), key
    for layer in stack.layers:
        layer.f._forward_hooks.clear()
    again = load_encoder(save_encoder(stack.encoder, tmp_path, in_shape=(1, 8, 8)))
    x = torch.rand(7, 1, 8, 8)
    assert torch.equal(again(x), stack.encode(x))


def test_each_layer_learns_to_reconstruct_the_codes_of_the_one_before():
    seen = []
    two_layers().fit(Digits(), Pretraining(epochs=1), QUIET, on_stage_end=lambda layer, r, x: seen.append((layer, x)))
    (below, x0), (_, x1) = seen
    torch.testing.assert_close(x1, below.encode(x0).detach())


def test_every_layer_gets_better_and_its_record_says_how():
    stack = two_layers().fit(Digits(), Pretraining(epochs=[8, 4], batch_size=64), QUIET)
    results = stack.results()
    assert [r.stage for r in results] == ["00-denoising", "01-sparse"]
    assert [r.epochs for r in results] == [8, 4]
    assert [r.steps for r in results] == [8 * 19, 4 * 19]
    assert results[0].in_shape == (1, 8, 8)
    assert results[1].code_shape == (8,)
    untrained = two_layers().layers[0]
    x = Digits().splits().validation.x
    before = untrained.L(x, untrained.g(untrained.f(x))).mean().item()
    assert results[0].losses.reconstruction < 0.8 * before


@pytest.mark.parametrize("name", LAYERS)
def test_every_variant_stacks_and_reports_its_own_diagnostic(name):
    layer = lambda shape: make(name, in_shape=shape, coder=Dense(6))  # noqa: E731
    stack = GreedyStack((1, 8, 8), [layer, layer]).fit(Digits(), Pretraining(epochs=1), QUIET)
    for result in stack.results():
        diagnostics = result.diagnostics
        assert {"active_share", "mean_abs_code", "dead_units", "informative_units", "identity_score"} <= set(
            diagnostics
        )
        own = {"contractive": "jacobian_norm", "variational": "kl", "boltzmann": "free_energy_gap"}.get(name)
        assert own is None or diagnostics[own] != 0


def test_the_encoder_is_a_plain_copy_of_what_was_trained():
    stack = two_layers()
    encoder = stack.encoder
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(encoder(x), stack.encode(x))
    assert not any(isinstance(module, LightningModule) for module in encoder.modules())
    with torch.no_grad():
        encoder[0][1].weight.zero_()
    assert not torch.equal(encoder(x), stack.encode(x))


def test_reconstruction_goes_down_through_all_layers():
    stack = two_layers()
    x = torch.rand(5, 1, 8, 8)
    first, second = stack.layers
    torch.testing.assert_close(stack.reconstruct(x), first.decode(second.reconstruct(first.encode(x))))
    assert stack.reconstruct(x).shape == x.shape


def test_patience_keeps_the_best_epoch_of_each_layer():
    def steep(parameters):
        return torch.optim.SGD(parameters, lr=1e-3, maximize=True)

    stack = GreedyStack((1, 8, 8), [lambda shape: PlainAutoencoder(shape, Dense(5), optimizer=steep)])
    stack.fit(Digits(), Pretraining(epochs=30, patience=[2]), QUIET)
    assert stack.records[0].epochs == stack.records[0].kept_epoch + 3 < 30


def test_rarer_validations_change_no_weight_and_leave_the_last_epoch_measured():
    stacks = [two_layers(), two_layers()]
    for stack, every in zip(stacks, (1, 3), strict=True):
        stack.fit(Digits(), Pretraining(epochs=[6, 3], validate_every=every), QUIET)
    often, rare = ([record.history for record in stack.records] for stack in stacks)
    assert [[k for k, row in enumerate(rows) if "val/reconstruction" in row] for rows in rare] == [[2, 5], [2]]
    assert [rows[-1]["val/loss"] for rows in rare] == [rows[-1]["val/loss"] for rows in often]
    assert all(map(torch.equal, stacks[0].state_dict().values(), stacks[1].state_dict().values()))


def test_patience_counts_validations():
    def steep(parameters):
        return torch.optim.SGD(parameters, lr=1e-3, maximize=True)

    stack = GreedyStack((1, 8, 8), [lambda shape: PlainAutoencoder(shape, Dense(5), optimizer=steep)])
    stack.fit(Digits(), Pretraining(epochs=30, patience=2, validate_every=3), QUIET)
    assert stack.records[0].epochs == stack.records[0].kept_epoch + 7 < 30


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": [6, 4], "validate_every": 3}, "must divide the 4 epochs of layer 1, but got 3. 1 validates after"),
        ({"epochs": 6, "validate_every": 0}, "pretrain.validate_every must be >= 1, but got 0. 1 validates after"),
        ({"epochs": 6, "validate_every": 3, "unroll": 2}, "must divide the 2 epochs of unroll, but got 3"),
    ],
)
def test_validations_end_with_the_last_epoch(values, message):
    with pytest.raises(ConfigError, match=message):
        two_layers().fit(Digits(), Pretraining(**values), QUIET)


def test_pretraining_never_sees_validation_or_test_examples():
    data, seen = Digits(labels=100), []
    layer = DenoisingAutoencoder((1, 8, 8), Dense(4))
    energy = layer.energy
    layer.energy = lambda x: (seen.append(x.clone()) if layer.training else None, energy(x))[1]
    GreedyStack((1, 8, 8), [lambda shape: layer]).fit(data, Pretraining(epochs=1), QUIET)
    splits = data.splits()
    rows = {tuple(row) for row in torch.cat(seen).flatten(1).tolist()}
    allowed = {tuple(row) for row in splits.unlabelled.flatten(1).tolist()}
    assert rows == allowed


def plain(in_shape):
    return PlainAutoencoder(in_shape, Dense(4))


def bernoulli(in_shape):
    return PlainAutoencoder(in_shape, Dense(2), likelihood=Bernoulli())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers is empty"),
        ([lambda s: PlainAutoencoder(s, Dense(0))], "layer 0: .*at least 1 unit, but got 0"),
        ([plain, lambda s: SparseAutoencoder(s, Dense(4), lam=-1)], "layer 1: lam"),
        (
            [lambda s: PlainAutoencoder(s, Dense(4, "relu")), bernoulli],
            r"layer 1: its likelihood Bernoulli takes values in \[0, 1\], but the codes of layer 0 lie in \[0, inf\]",
        ),
        (
            [lambda s: VariationalAutoencoder(s, Dense(4)), bernoulli],
            "the codes of layer 0 lie in",
        ),
        (
            [plain, lambda s: PlainAutoencoder(s, Dense(2), likelihood=Categorical())],
            "layer 1: Categorical is for one-hot data",
        ),
        ([lambda s: PlainAutoencoder(s, Dense(4), likelihood=Categorical((3, 4)))], "add up to 7, but there are 64"),
    ],
)  # fmt: skip
def test_layers_that_cannot_be_built_or_do_not_fit_are_refused_by_their_number(layers, message):
    with pytest.raises(ConfigError, match=message):
        GreedyStack((1, 8, 8), layers)


def test_an_overcomplete_layer_without_a_regularizer_is_warned_about():
    plain = GreedyStack((64,), [lambda s: PlainAutoencoder(s, Dense(65))])
    assert "layer 0 (00-plain) is overcomplete (65 units for 64 inputs)" in plain.warnings()[0]
    assert not GreedyStack((64,), [lambda s: PlainAutoencoder(s, Dense(64))]).warnings()
    assert not GreedyStack((64,), [lambda s: SparseAutoencoder(s, Dense(65), lam=0.1)]).warnings()
    off = GreedyStack((64,), [lambda s: SparseAutoencoder(s, Dense(65), lam=0.0)])
    assert "has no regularizer" in off.warnings()[0]


def test_data_that_do_not_fit_are_refused_before_the_first_stage():
    stack = GreedyStack((4,), [lambda s: PlainAutoencoder(s, Dense(2), likelihood=Bernoulli())])
    with pytest.raises(DataError, match=r"takes inputs of shape \(4,\), but Digits gives \(1, 8, 8\)"):
        stack.fit(Digits(), Pretraining(epochs=1), QUIET)
    with pytest.raises(DataError, match=r"layer 0 \(00-plain\), Arrays: Bernoulli takes values in \[0, 1\]"):
        stack.fit(Arrays(3 * torch.rand(50, 4)), Pretraining(epochs=1), QUIET)


def test_a_second_fit_starts_again_from_the_initial_weights():
    data, quiet = Digits(), RunContext(progress=False)
    stack = GreedyStack(data.in_shape, [plain, plain], seed=3)
    first = stack.fit(data, Pretraining(epochs=1), quiet).encoder.state_dict()
    records = len(stack.records)
    second = stack.fit(data, Pretraining(epochs=1), quiet).encoder.state_dict()
    assert len(stack.records) == records
    assert all(torch.equal(first[name], second[name]) for name in first)

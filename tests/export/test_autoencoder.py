"""A saved autoencoder reconstructs as the stack that was trained, and is read as strictly as an encoder."""

import json

import pytest
import safetensors.torch
import torch
from torch import nn

import aepretrain as ae
from aepretrain.data.transforms import Scale
from aepretrain.export.decoders import DECODERS

KINDS = [
    (ae.Gaussian(), ae.Dense(6, tied=True)),
    (ae.Bernoulli(), ae.Dense(6, activation="tanh", hidden=(9,))),
    (ae.Categorical((4, 4, 8)), ae.Dense(6)),
]


def stack_of(likelihood, coder):
    layers = [
        lambda shape: ae.PlainAutoencoder(shape, coder, likelihood=likelihood),
        lambda shape: ae.DenoisingAutoencoder(shape, ae.Dense(3)),
    ]
    return ae.GreedyStack((1, 4, 4), layers, seed=1).eval()


def save(stack, folder, **more):
    return ae.save_encoder(
        stack.encoder, folder, in_shape=(1, 4, 4), transform=Scale(255), decoders=stack.decoders, **more
    )


@pytest.mark.parametrize(("likelihood", "coder"), KINDS, ids=["gaussian-tied", "bernoulli-deep", "categorical"])
@torch.no_grad()
def test_codes_errors_and_reconstructions_are_those_of_the_stack(likelihood, coder, tmp_path):
    stack = stack_of(likelihood, coder)
    saved = ae.load_autoencoder(save(stack, tmp_path))
    raw = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8)
    x = raw / 255
    first, second = stack
    y = first.g(second.decode(stack.encode(x)))
    torch.testing.assert_close(saved.encode(raw), stack.encode(x), rtol=0, atol=0)
    torch.testing.assert_close(saved.error(raw), first.L(x, y))
    assert torch.equal(saved.score(raw), -saved.error(raw))
    torch.testing.assert_close(saved.error_per_feature(raw).sum(dim=1), first.L(x, y))
    torch.testing.assert_close(saved(raw), 255 * first.L.mean(y))
    torch.testing.assert_close(saved.lower(1).error(raw), first.L(x, first.g(first.encode(x))))
    assert saved.lower(1).encode(raw).shape == (5, 6)


def test_a_stack_of_machines_is_saved_with_its_decoders(tmp_path):
    layers = [lambda shape, n=n: ae.RestrictedBoltzmannMachine(shape, ae.Dense(n)) for n in (6, 3)]
    stack = ae.GreedyStack((1, 4, 4), layers, seed=1).eval()
    saved, x = ae.load_autoencoder(save(stack, tmp_path)), torch.rand(5, 1, 4, 4)
    first, second = stack
    torch.testing.assert_close(saved.error(255 * x), first.L(x, first.g(second.decode(stack.encode(x)))))
    torch.testing.assert_close(saved(255 * x), 255 * stack.reconstruct(x))


def test_the_encoder_is_the_same_with_and_without_decoders(tmp_path):
    stack = stack_of(*KINDS[0])
    both = save(stack, tmp_path / "both")
    alone = ae.save_encoder(stack.encoder, tmp_path / "alone", in_shape=(1, 4, 4), transform=Scale(255))
    assert (both / "encoder.safetensors").read_bytes() == (alone / "encoder.safetensors").read_bytes()
    configs = [json.loads((folder / "config.json").read_text()) for folder in (both, alone)]
    assert configs[0]["sha256"] == configs[1]["sha256"]
    assert configs[1]["decoder"] is None
    assert "load_autoencoder" in (both / "README.md").read_text()
    assert "load_autoencoder" not in (alone / "README.md").read_text()


@pytest.mark.parametrize("trace", ["weights", "likelihood", "name", "shape", "missing", "list"])
def test_decoders_that_were_changed_are_refused_by_the_name_of_the_file(trace, tmp_path):
    folder = save(stack_of(*KINDS[0]), tmp_path)
    path, config = folder / DECODERS, json.loads((folder / "config.json").read_text())
    layer = config["decoder"]["layers"][0]
    if trace == "weights":
        tensors = safetensors.torch.load_file(path)
        tensors["0.0.bias"] += 1
        path.write_bytes(safetensors.torch.save(tensors))
    elif trace == "likelihood":
        layer["likelihood"] = {"type": "Bernoulli"}
    elif trace == "name":
        layer["likelihood"] = {"type": "os.system"}
    elif trace == "shape":
        layer["architecture"]["modules"][0]["in_features"] = 7
    elif trace == "missing":
        path.unlink()
    else:
        config["decoder"]["layers"] = "none"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ae.StorageError, match=DECODERS if trace in ("weights", "shape", "missing") else "config.json"):
        ae.load_autoencoder(folder)
    ae.load_encoder(folder)


def test_decoders_that_do_not_lead_back_to_the_input_are_refused(tmp_path):
    ae.save_encoder(nn.Linear(4, 2), tmp_path, in_shape=(4,), decoders=[(nn.Linear(2, 3), ae.Gaussian())])
    with pytest.raises(ae.StorageError, match=r"the decoders lead to \(3,\), but in_shape is \(4,\)"):
        ae.load_autoencoder(tmp_path)
    ae.save_encoder(nn.Linear(4, 2), tmp_path, in_shape=(4,), decoders=[(nn.Linear(3, 4), ae.Gaussian())])
    with pytest.raises(ae.StorageError, match="do not take the codes of the encoder"):
        ae.load_autoencoder(tmp_path)


def test_an_encoder_whose_decoder_cannot_be_described_says_why(tmp_path):
    decoder = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4))
    ae.save_encoder(nn.Linear(4, 2), tmp_path, in_shape=(4,), decoders=[(decoder, ae.Gaussian())])
    ae.load_encoder(tmp_path)
    with pytest.raises(ae.StorageError, match=r"without decoders: a decoder can be saved if it is made of .*LayerNorm"):
        ae.load_autoencoder(tmp_path)


def test_an_encoder_gives_the_codes_of_every_layer_and_their_number(tmp_path):
    stack = stack_of(*KINDS[1])
    encoder = ae.load_encoder(save(stack, tmp_path))
    raw = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8)
    lower, upper = encoder(raw, return_all=True)
    assert torch.equal(upper, encoder(raw))
    assert torch.equal(lower, next(iter(stack)).encode(encoder.preprocess(raw)))
    assert encoder.out_features == 3

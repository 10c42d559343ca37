import contextlib
import json
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from aepretrain import (
    ConfigError,
    Dense,
    Digits,
    Experiment,
    GreedyStack,
    PlainAutoencoder,
    StorageError,
    load_encoder,
    save_encoder,
)
from aepretrain.export.encoder import _digest, build, describe
from aepretrain.parts.coders import ACTIVATIONS
from tests.support.full_disk import largest_file


def stack(activation="sigmoid"):
    layers = [lambda s: PlainAutoencoder(s, Dense(5, activation)), lambda s: PlainAutoencoder(s, Dense(3, hidden=(4,)))]
    return GreedyStack((1, 2, 3), layers)


@pytest.fixture
def saved(tmp_path):
    return save_encoder(stack().encoder, tmp_path / "encoder", in_shape=(1, 2, 3), provenance={"seed": 7})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_saved_encoder_reloads_bitwise_equal_and_without_lightning(activation, tmp_path):
    encoder = stack(activation).encoder
    again = load_encoder(save_encoder(encoder, tmp_path, in_shape=(1, 2, 3)))
    x = torch.randn(7, 1, 2, 3)
    assert torch.equal(again(x), encoder(x))
    assert not again.training
    assert all(type(module).__module__.startswith("torch.nn") for module in again.modules())


def test_a_full_disk_leaves_the_encoder_that_was_there(saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    other = nn.Linear(6, 40)
    for room in (0, 100, len(before["encoder.safetensors"]) + 1):  # no file, half of the first, the second
        with largest_file(room), pytest.raises(StorageError, match="bytes needed"):
            save_encoder(other, saved, in_shape=(6,))
        assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    save_encoder(other, saved, in_shape=(6,))
    assert torch.equal(load_encoder(saved).weight, other.weight)


def test_loading_needs_nothing_but_torch_and_safetensors(saved):
    program = (
        "import sys, aepretrain; aepretrain.load_encoder(sys.argv[1]); "
        "sys.exit('lightning' in sys.modules or 'jsonargparse' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(saved)], check=False).returncode == 0


def test_the_folder_tells_the_facts(saved):
    config = json.loads((saved / "config.json").read_text())
    assert config["in_shape"] == [1, 2, 3]
    assert config["code_shape"] == [3]
    assert config["provenance"] == {"seed": 7}
    assert config["architecture"]["modules"][0]["modules"][1] == {
        "type": "Linear", "in_features": 6, "out_features": 5, "bias": True,
    }  # fmt: skip
    readme = (saved / "README.md").read_text()
    assert "| seed | 7 |" in readme
    assert "load_encoder" in readme


@settings(max_examples=30, deadline=None)
@given(
    width=st.integers(1, 5),
    bias=st.booleans(),
    slope=st.floats(0.01, 2, allow_nan=False),
)
def test_a_description_builds_the_module_that_it_describes(width, bias, slope):
    module = nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(width, 2, bias=bias), nn.LeakyReLU(slope)), nn.ELU(slope)
    )
    description = json.loads(json.dumps(describe(module)))
    again = build(description)
    assert str(again) == str(module)
    again.load_state_dict(module.state_dict(), strict=True)


def edit(tensors, folder):
    """Write other tensors, with the hash that belongs to them."""
    save_file(tensors, folder / "encoder.safetensors")
    rewrite(folder)


def rewrite(folder, **changes):
    """Change the config, and make the fingerprint fit as one who means harm would."""
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    config["sha256"] = _digest((folder / "encoder.safetensors").read_bytes(), config)
    (folder / "config.json").write_text(json.dumps(config))


def test_renamed_missing_extra_and_reshaped_tensors_are_refused_by_name(saved):
    tensors = load_file(saved / "encoder.safetensors")
    weight = tensors["0.1.weight"]
    for change, message in [
        ({"0.1.weight": None}, "0.1.weight is missing from"),
        ({"0.1.weight": None, "f.0.1.weight": weight.clone()}, "0.1.weight is missing from"),
        ({"9.weight": weight.clone()}, "9.weight is unexpected in"),
        ({"0.1.weight": weight.T.contiguous()}, r"0.1.weight must be \(5, 6\)"),
        ({"0.1.weight": weight.double()}, "float64"),
    ]:
        edit({name: t for name, t in {**tensors, **change}.items() if t is not None}, saved)
        with pytest.raises(StorageError, match=message):
            load_encoder(saved)


@pytest.mark.parametrize("name", ["encoder.safetensors", "config.json"])
def test_missing_truncated_and_empty_files_are_refused(saved, name):
    whole = (saved / name).read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        (saved / name).write_bytes(content)
        with pytest.raises(StorageError, match=name):
            load_encoder(saved)
    (saved / name).unlink()
    with pytest.raises(StorageError, match=name):
        load_encoder(saved)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"type": "os.system"}, "names 'os.system'"),
        ({"type": "Linear", "in_features": 3}, "Linear does not fit"),
        ({"type": "Sequential"}, "must list the modules"),
        ({"type": ["Linear"]}, "names \\['Linear'\\]"),
        ({"type": "Linear", "in_features": 10**12, "out_features": 10**5}, "is unexpected in the file"),
        ({"type": "Linear", "in_features": "6", "out_features": 5}, "Linear does not fit"),
        ([], "must describe a module"),
    ],
)
def test_architectures_outside_the_list_are_refused(saved, architecture, message):
    rewrite(saved, architecture=architecture)
    with pytest.raises(StorageError, match=message):
        load_encoder(saved)


def test_another_format_is_refused(saved):
    (saved / "config.json").write_text('{"format": 99}')
    with pytest.raises(StorageError, match="not of encoder format 1"):
        load_encoder(saved)


def test_an_encoder_of_other_modules_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="has a BatchNorm1d"):
        save_encoder(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval(), tmp_path, in_shape=(2,))


@pytest.mark.parametrize("changes", [{"in_shape": [10**9, 10**9]}, {"in_shape": "all"}, {"code_shape": [4]}])
def test_shapes_that_the_encoder_does_not_have_are_refused(saved, changes):
    rewrite(saved, **changes)
    with pytest.raises(StorageError, match=r"config\.json"):
        load_encoder(saved)


def test_modules_that_are_nested_without_end_are_refused(saved):
    nested = {"type": "Identity"}
    for _ in range(100):
        nested = {"type": "Sequential", "modules": [nested]}
    rewrite(saved, architecture=nested)
    with pytest.raises(StorageError, match="more than 32 deep"):
        load_encoder(saved)
    (saved / "config.json").write_text("[" * 100_000)
    with pytest.raises(StorageError, match=r"config\.json cannot be read"):
        load_encoder(saved)


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_folder_that_was_tampered_with_is_refused_or_the_same(saved, data):
    """Whatever byte is flipped, cut off or put in place of a value: a StorageError, or the encoder as it was."""
    x = torch.rand(2, 1, 2, 3)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.LeakyReLU(0.25))
    saved = save_encoder(encoder, saved, in_shape=(1, 2, 3), preprocessing={"scale": 255})
    expected = encoder(x)
    name = data.draw(st.sampled_from(["encoder.safetensors", "config.json"]))
    whole = (saved / name).read_bytes()
    try:
        if data.draw(st.booleans()) and name == "config.json":
            config = json.loads(whole)
            key = data.draw(st.sampled_from(sorted(config)))
            changed = json.dumps({**config, key: data.draw(HOSTILE)}).encode()
        else:
            place = data.draw(st.integers(0, len(whole) - 1))
            byte = bytes([whole[place] ^ data.draw(st.integers(1, 255))])
            changed = whole[:place] + data.draw(st.sampled_from([b"", byte, byte + whole[place + 1 :]]))
        (saved / name).write_bytes(changed)
        with contextlib.suppress(StorageError):
            assert torch.equal(load_encoder(saved)(x), expected)
    finally:
        (saved / name).write_bytes(whole)


class Normalized(Dense):
    """A coder whose encoder has a module that cannot be described."""

    def build(self, in_shape):
        f, g, code_shape = super().build(in_shape)
        return nn.Sequential(*f, nn.LayerNorm(code_shape)), g, code_shape


def test_an_encoder_that_could_not_be_saved_is_refused_before_it_is_trained():
    experiment = Experiment([lambda s: PlainAutoencoder(s, Normalized(5))], Digits())
    with pytest.raises(ConfigError, match=r"layer 0 \(00-plain\): an encoder can be saved if .* has a LayerNorm"):
        experiment.prepare()

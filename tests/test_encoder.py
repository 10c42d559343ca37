import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from aepretrain import Dense, GreedyStack, PlainAutoencoder, StorageError, load_encoder, save_encoder
from aepretrain.encoder import build, describe
from aepretrain.parts.coders import ACTIVATIONS


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
    save_file(tensors, folder / "encoder.safetensors")


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
        ([], "must describe a module"),
    ],
)
def test_architectures_outside_the_list_are_refused(saved, architecture, message):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "architecture": architecture}))
    with pytest.raises(StorageError, match=message):
        load_encoder(saved)


def test_another_format_is_refused(saved):
    (saved / "config.json").write_text('{"format": 99}')
    with pytest.raises(StorageError, match="not of encoder format 1"):
        load_encoder(saved)


def test_an_encoder_of_other_modules_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="has a BatchNorm1d"):
        save_encoder(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval(), tmp_path, in_shape=(2,))

import contextlib
import hashlib
import json
import subprocess
import sys
from dataclasses import replace

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
    Encoder,
    Experiment,
    GreedyStack,
    MinMax,
    NoTransform,
    PlainAutoencoder,
    Scale,
    Standardize,
    StorageError,
    Transform,
    load_encoder,
    save_encoder,
)
from aepretrain.export.architecture import LAYERS, _arguments, build, describe
from aepretrain.export.encoder import DECISIVE, _digest
from aepretrain.parts.activations import ACTIVATIONS
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
    assert all(type(module).__module__.startswith("torch.nn") for module in again.layers.modules())
    homes = {base.__module__ for module in again.modules() for base in type(module).__mro__}
    assert not [home for home in homes if "lightning" in home]


def test_a_full_disk_leaves_the_encoder_that_was_there(saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    other = nn.Linear(6, 40)
    for room in (0, 100, len(before["encoder.safetensors"]) + 1):  # no file, half of the first, the second
        with largest_file(room), pytest.raises(StorageError, match="bytes needed"):
            save_encoder(other, saved, in_shape=(6,))
        assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    save_encoder(other, saved, in_shape=(6,))
    assert torch.equal(load_encoder(saved).layers.weight, other.weight)


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


@pytest.mark.parametrize(("version", "key"), [(version, key) for version, keys in DECISIVE.items() for key in keys])
def test_the_digest_covers_the_weights_and_every_key_that_decides_what_they_mean(version, key):
    config = {name: [1] for name in (*DECISIVE[1], *DECISIVE[2], "provenance")} | {"format": version}
    digest = _digest(b"weights", config)
    assert _digest(b"weights", config | {"provenance": [2]}) == digest != _digest(b"other", config)
    if key == "format":
        assert _digest(b"weights", config | {"format": 3 - version}) != digest
    else:
        assert _digest(b"weights", config | {key: [2]}) != digest


def test_what_decides_the_codes_is_covered_by_the_digest(saved):
    config = json.loads((saved / "config.json").read_text())
    describing = {"preprocessing", "provenance", "sha256", "decoder"}  # the decoder has a digest of its own
    assert set(config) - describing == set(DECISIVE[2])
    assert set(DECISIVE[1]) == {"in_shape", "code_shape", "architecture", "preprocessing"}
    assert config["sha256"] == _digest((saved / "encoder.safetensors").read_bytes(), config)


def test_another_format_is_refused(saved):
    (saved / "config.json").write_text('{"format": 99}')
    with pytest.raises(StorageError, match=r"of encoder format 99, but this version reads formats up to 2\. Update"):
        load_encoder(saved)
    (saved / "config.json").write_text('{"format": 0}')
    with pytest.raises(StorageError, match="not of encoder format 1"):
        load_encoder(saved)


def test_an_encoder_of_other_modules_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="has a LayerNorm"):
        save_encoder(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), tmp_path, in_shape=(2,))


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


FITTED = Standardize().fit(torch.rand(20, 1, 2, 3, generator=torch.Generator().manual_seed(0)))
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
    saved = save_encoder(encoder, saved, in_shape=(1, 2, 3), transform=FITTED, columns=["a"], classes=["x", "y"])
    expected = encoder(FITTED(x))
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
            again = load_encoder(saved)
            assert torch.equal(again(x), expected)
            assert (again.columns, again.class_names) == (["a"], ["x", "y"])
    finally:
        (saved / name).write_bytes(whole)


MODULES = [
    nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2, bias=False),
    nn.Conv2d(1, 4, (3, 2), padding="same", padding_mode="reflect"),
    nn.MaxPool2d(2, stride=(2, 1), padding=1, ceil_mode=True),
    nn.AvgPool2d((3, 2), count_include_pad=False, divisor_override=5),
    nn.Unflatten(1, (2, 3)),
]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_a_config_gives_a_module_it_is_built_or_refused(data):
    right = describe(data.draw(st.sampled_from([nn.Linear(4, 2), nn.Flatten(), nn.ELU(), *MODULES])))
    wrong = st.fixed_dictionaries({}, optional=dict.fromkeys(set(right) - {"type"}, HOSTILE | st.lists(st.integers())))
    with contextlib.suppress(StorageError), torch.device("meta"):
        assert type(build({**right, **data.draw(wrong)})) is LAYERS[right["type"]]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
def test_convolutions_and_pools_are_described_by_all_of_their_arguments(module):
    again = build(json.loads(json.dumps(describe(module))))
    arguments = _arguments(type(module))
    assert arguments
    for name in arguments:
        if name != "bias":
            assert getattr(again, name) == getattr(module, name), name
    assert str(again) == str(module)
    again.load_state_dict(module.state_dict(), strict=True)


class Normalized(Dense):
    """A coder whose encoder has a module that cannot be described."""

    def build(self, in_shape):
        parts = super().build(in_shape)
        return replace(parts, body=nn.Sequential(*parts.body, nn.LayerNorm(parts.affine.in_features)))


def test_an_encoder_that_could_not_be_saved_is_refused_before_it_is_trained():
    experiment = Experiment([lambda s: PlainAutoencoder(s, Normalized(5))], Digits())
    with pytest.raises(ConfigError, match=r"layer 0 \(00-plain\): an encoder can be saved if .* has a LayerNorm"):
        experiment.prepare()


TRANSFORMS = [
    NoTransform(),
    Scale(255),
    FITTED,
    MinMax().fit(FITTED.std * torch.arange(5).reshape(5, 1, 1, 1)),
    MinMax(clamp=False).fit(FITTED.mean[None]),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_raw_values_give_the_codes_of_scaled_ones_bit_for_bit(transform, tmp_path):
    layers = stack().encoder
    encoder = load_encoder(save_encoder(layers, tmp_path, in_shape=(1, 2, 3), transform=transform))
    assert isinstance(encoder, Encoder)
    for raw in (torch.rand(7, 1, 2, 3) * 300, torch.randint(256, (7, 1, 2, 3), dtype=torch.uint8)):
        expected = layers(transform(raw))
        assert torch.equal(encoder(raw), expected)
        assert torch.equal(encoder(raw.double()), expected)
        assert torch.equal(encoder.code(transform(raw)), expected)
        assert torch.equal(encoder.layers(encoder.transform(raw)), expected)
        bare = load_encoder(tmp_path, transform=False)
        assert torch.equal(bare(transform(raw)), expected)
    assert str(encoder.transform) == str(transform)
    assert encoder.layers.state_dict().keys() == layers.state_dict().keys()
    assert (encoder.in_shape, encoder.code_shape) == ((1, 2, 3), (3,))
    assert encoder.double()(raw).dtype == torch.float64


def test_raw_pixels_of_a_run_give_its_codes(tmp_path):
    from sklearn.datasets import load_digits

    data = Digits()
    layers = GreedyStack(data.in_shape, [lambda s: PlainAutoencoder(s, Dense(5))]).encoder
    folder = save_encoder(layers, tmp_path, in_shape=data.in_shape, transform=data.transform, classes=data.class_names)
    raw = torch.from_numpy(load_digits().data).reshape(-1, 1, 8, 8)
    x = data.splits().test.x
    places = [int(((raw / 16) == row).flatten(1).all(dim=1).nonzero()[0]) for row in x[:20]]
    encoder = load_encoder(folder)
    assert torch.equal(encoder(raw[places]), layers(x[:20]))
    assert torch.equal(encoder(raw[places].to(torch.uint8)), layers(x[:20]))
    assert encoder.class_names == list("0123456789")


def as_format_1(folder):
    """Write the config as the first format had it."""
    config = json.loads((folder / "config.json").read_text())
    for key in ("transform", "columns", "classes", "sha256"):
        config.pop(key)
    config |= {"format": 1, "preprocessing": {"description": "divided by 16", "divide_by": 16.0}}
    decisive = [config[key] for key in ("in_shape", "code_shape", "architecture", "preprocessing")]
    weights = (folder / "encoder.safetensors").read_bytes()
    config["sha256"] = hashlib.sha256(weights + json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


def test_the_first_format_is_still_read_and_takes_scaled_values(saved):
    x = torch.rand(3, 1, 2, 3)
    expected = load_encoder(saved)(x)
    as_format_1(saved)
    again = load_encoder(saved)
    assert torch.equal(again(x), expected)
    assert isinstance(again.transform, NoTransform)
    assert (again.columns, again.class_names) == (None, None)
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "preprocessing": {"divide_by": 17.0}}))
    with pytest.raises(StorageError, match="damaged or was changed"):
        load_encoder(saved)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (None, "must name a transform out of NoTransform"),
        ("Scale", "must name a transform"),
        ({"type": "Linear"}, "must name a transform"),
        ({"type": ["Scale"]}, "must name a transform"),
        ({"type": "Scale"}, "the transform Scale does not fit"),
        ({"type": "Scale", "divide_by": 0}, "the transform Scale does not fit"),
        ({"type": "Scale", "divide_by": "2"}, "the transform Scale does not fit"),
        ({"type": "Scale", "divide_by": 2}, r"transform\.divide_by is missing from"),
        ({"type": "MinMax"}, r"transform\.low is missing from"),
        ({"type": "NoTransform"}, r"transform\.mean is unexpected in"),
    ],
)
def test_transforms_that_do_not_fit_are_refused(tmp_path, transform, message):
    saved = save_encoder(stack().encoder, tmp_path, in_shape=(1, 2, 3), transform=FITTED)
    rewrite(saved, transform=transform)
    with pytest.raises(StorageError, match=message):
        load_encoder(saved)


@pytest.mark.parametrize("changes", [{"columns": 5}, {"classes": [1]}, {"columns": {"a": 1}}])
def test_names_that_are_none_are_refused(saved, changes):
    rewrite(saved, **changes)
    with pytest.raises(StorageError, match="must be a list of names"):
        load_encoder(saved)


def test_statistics_of_another_shape_or_type_are_refused_by_name(tmp_path):
    saved = save_encoder(stack().encoder, tmp_path, in_shape=(1, 2, 3), transform=FITTED)
    tensors = load_file(saved / "encoder.safetensors")
    for mean, message in [(torch.zeros(6), r"transform\.mean must be \(1, 2, 3\)"), (FITTED.mean.double(), "float64")]:
        edit({**tensors, "transform.mean": mean}, saved)
        with pytest.raises(StorageError, match=message):
            load_encoder(saved)


def test_a_transform_that_is_not_fitted_or_unknown_cannot_be_saved(tmp_path):
    class Own(NoTransform):
        pass

    for transform, message in [
        (Standardize(), "has not seen any training rows"),
        (Own(), "with a transform out of NoTransform, .* not Own"),
        (Standardize().fit(torch.rand(9, 4)), r"fitted to examples of shape \(4,\)"),
    ]:
        assert isinstance(transform, Transform)
        with pytest.raises(ValueError, match=message):
            save_encoder(stack().encoder, tmp_path / "new", in_shape=(1, 2, 3), transform=transform)
    assert not (tmp_path / "new").exists()


def test_the_readme_of_the_folder_names_columns_and_classes(tmp_path):
    encoder = nn.Sequential(nn.Linear(2, 2))
    names = {"columns": ["height", "a|b"], "classes": ["cat", "dog"]}
    readme = (save_encoder(encoder, tmp_path, in_shape=(2,), transform=Scale(3), **names) / "README.md").read_text()
    for words in ("| columns | height, a\\|b |", "| classes | cat, dog |", "divided by 3", "codes = encoder(x)"):
        assert words in readme
    again = load_encoder(tmp_path)
    assert (again.columns, again.class_names) == (names["columns"], names["classes"])


def test_a_stride_of_0_is_refused_in_one_line(tmp_path, monkeypatch):
    """Found by tests/test_readers.py."""
    folder = save_encoder(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), tmp_path / "encoder", in_shape=(1, 8, 8))
    monkeypatch.setattr("aepretrain.export.encoder._digest", lambda weights, config: config["sha256"])
    config = json.loads((folder / "config.json").read_text())
    config["architecture"]["modules"][0]["stride"] = 0
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(StorageError, match=r"config\.json: the encoder cannot take its in_shape .*division"):
        load_encoder(folder)

"""Exported files hold the network that was exported, for batches of any size, and are run without us."""

import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import aepretrain as ae
from aepretrain.data.columns import Column
from aepretrain.data.table_transform import TableTransform
from aepretrain.export import architecture, formats, onnx_file, pt2_file
from aepretrain.export.heads import with_outputs
from aepretrain.export.int8 import quantize_onnx
from aepretrain.parts.sparse_codes import JumpReLU, TopK
from tests.support.full_disk import largest_file
from tests.support.variants import CODERS, LAYERS, MACHINES, make

N = 20


def encoder_of(layers, in_shape, transform=None, **names):
    transform = transform or ae.NoTransform()
    whole = ae.Encoder(transform, nn.Sequential(*layers), in_shape, (), **names).eval()
    return whole.lower(len(layers))


def dense():
    return encoder_of([nn.Sequential(nn.Linear(4, 3), nn.Tanh()), nn.Sequential(nn.Linear(3, 2))], (4,), ae.Scale(255))


@pytest.mark.parametrize("name", LAYERS)
def test_the_codes_of_every_variant_are_bitwise_those_of_the_layer(name, tmp_path):
    coder = ae.Conv(2, hidden=(3,)) if "denoising" in name else list(CODERS.values())[len(name) % 3]
    coder = CODERS["dense"] if name in MACHINES else coder
    in_shape = (1, 4, 4) if "denoising" in name else (6,)
    layer, x = make(name, in_shape, coder).eval(), torch.rand(N, *in_shape)
    exported = ae.export_encoder(encoder_of([layer.encoder], in_shape), tmp_path / "a.pt2", x)
    assert exported.parity.is_bitwise
    program = torch.export.load(tmp_path / "a.pt2").module()
    for size in (1, 3, N):
        codes = program(x[:size])
        assert not codes.requires_grad
        assert torch.equal(codes, layer.encode(x[:size]))


def convolutional():
    """A network of all kinds of layers that an encoder may have."""
    lower = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ELU(), nn.MaxPool2d(2), nn.ConvTranspose2d(4, 2, 2)]
    middle = [nn.Upsample(scale_factor=2), nn.AvgPool2d(2), nn.GELU(), nn.Flatten()]
    dense = [nn.Linear(50, 6), nn.BatchNorm1d(6), nn.Softplus(), TopK(4), JumpReLU(6, 0.1), nn.Unflatten(1, (3, 2))]
    upper = [nn.Conv1d(3, 4, 1), nn.SiLU(), nn.ConvTranspose1d(4, 2, 2), nn.LeakyReLU(), nn.Flatten()]
    last = [nn.Sigmoid(), nn.ReLU(), nn.Identity(), nn.Tanh(), nn.Softmax(dim=1)]
    layers = [nn.Sequential(*part) for part in (lower, middle, dense, upper, last)]
    nn.Sequential(*layers).train()(torch.rand(N, 1, 8, 8))  # statistics of the batch norms
    return encoder_of(layers, (1, 8, 8), ae.Scale(255))


@pytest.mark.parametrize("format", ["onnx", "pt2", "safetensors"])
def test_layers_of_every_kind_and_bytes_of_pictures_are_exported(format, tmp_path):
    encoder = convolutional()
    found = {type(module).__name__ for module in encoder.layers.modules()} - {"Sequential"}
    assert found == set(architecture.LAYERS)
    x = torch.randint(256, (N, 1, 8, 8), dtype=torch.uint8)
    path = tmp_path / ("folder" if format == "safetensors" else f"a.{format}")
    exported = ae.export_encoder(encoder, path, x, preprocessing=True)
    assert exported.parity.largest < 1e-5
    assert exported.parity.is_bitwise or format == "onnx"
    with torch.no_grad():
        torch.testing.assert_close(exported.network(x[:1]), encoder(x[:1]), rtol=0, atol=1e-5)


COLUMNS = [Column("mass", "numeric", missing=True), Column("island", "category", ("Biscoe", "Dream"), missing=True)]


def table(scaling):
    raw = torch.stack([torch.randn(N), torch.randint(3, (N,)).float()], dim=1)
    raw[3, 0], raw[5, 1] = torch.nan, torch.nan
    transform = TableTransform(COLUMNS, scaling).fit(raw)
    width = len(transform.feature_names)
    return encoder_of([nn.Sequential(nn.Linear(width, 3))], (2,), transform, columns=["mass", "island"]), raw


def facts_of(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_a_table_is_taken_as_codes_of_its_values_which_the_metadata_list(tmp_path):
    encoder, raw = table(ae.RankGauss())
    raw = torch.cat([raw, torch.tensor([[1e6, 0.0], [-1e6, 1.0]])])  # beyond all training rows
    exported = ae.export_encoder(encoder, tmp_path / "a.onnx", raw, preprocessing=True)
    assert exported.parity.largest < 1e-5
    columns = json.loads(facts_of(tmp_path / "a.onnx")["columns"])
    assert columns[1] == {"name": "island", "kind": "category", "values": ["Biscoe", "Dream"], "missing": True}
    values = {column["name"]: column["values"] for column in columns}  # as a program without us makes the codes
    row = {"mass": 0.5, "island": "Dream"}
    codes = [values[name].index(value) if values[name] else value for name, value in row.items()]
    assert torch.equal(exported.network(torch.tensor([codes])), exported.network(torch.tensor([[0.5, 1.0]])))


def test_without_preprocessing_the_description_names_the_features_of_the_network():
    encoder, _ = table(ae.Standardize())
    facts = formats.describe_network(encoder, "codes", False, torch.float32)
    assert facts["columns"] == encoder.transform.feature_names
    assert (facts["input"], facts["in_shape"]) == ("scaled values", [len(encoder.transform.feature_names)])


ROWS = torch.full((N, 4), 0.123456789)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network in every format of one file."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    encoder = dense()
    for format in formats.FILES:
        ae.export_encoder(encoder, folder / f"a.{format}", ROWS)
    return folder, encoder


def test_no_row_and_no_folder_of_this_machine_is_in_a_file(files):
    for format in formats.FILES:
        data = (files[0] / f"a.{format}").read_bytes()
        assert ROWS[0].numpy().tobytes() not in data
        assert str(ae.__path__[0]).encode() not in data
        assert torch.__path__[0].encode() not in data


def test_the_graph_says_what_goes_in_and_comes_out(files):
    facts = facts_of(files[0] / "a.onnx")
    assert (facts["input"], facts["type"], facts["output"]) == ("scaled values", "float32", "codes")
    graph = onnx.load(files[0] / "a.onnx").graph
    for values, name, width in ((graph.input, "x", 4), (graph.output, "codes", 2)):
        assert [each.name for each in values] == [name]
        assert [each.dim_param or each.dim_value for each in values[0].type.tensor_type.shape.dim] == ["batch", width]


def test_onnx_runtime_runs_the_file_without_torch(files, tmp_path):
    folder, encoder = files
    x = torch.rand(5, 4)
    np.save(tmp_path / "x.npy", x.numpy())
    program = """if True:
        import sys, numpy as np, onnxruntime
        session = onnxruntime.InferenceSession(sys.argv[1])
        np.save("codes.npy", session.run(["codes"], {"x": np.load("x.npy")})[0])
        sys.exit("torch" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", program, str(folder / "a.onnx")], cwd=tmp_path, check=True)
    with torch.no_grad():
        np.testing.assert_allclose(np.load(tmp_path / "codes.npy"), encoder.code(x), rtol=0, atol=1e-5)


def test_a_program_of_torch_has_operators_of_torch_alone(files):
    extra = {pt2_file.FACTS: ""}
    program = torch.export.load(files[0] / "a.pt2", extra_files=extra)
    calls = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert calls
    assert all(name.startswith("aten.") for name in calls)
    assert json.loads(extra[pt2_file.FACTS])["output"] == "codes"


@pytest.mark.parametrize("wrong", [lambda y: y + 1e-6, lambda y: y * torch.nan, lambda y: y / 0])
def test_a_network_that_disagrees_is_not_kept(wrong, tmp_path, monkeypatch):
    path, good = tmp_path / "a.pt2", formats.FILES["pt2"]
    path.write_bytes(b"before")

    def open_wrong(data):
        program = good.open(data)
        return lambda x: wrong(program(x))

    monkeypatch.setitem(formats.FILES, "pt2", replace(good, open=open_wrong))
    with pytest.raises(ae.AEPretrainError, match="the exported network differs from the encoder by"):
        ae.export_encoder(dense(), path, torch.rand(N, 4))
    assert path.read_bytes() == b"before"


def test_a_network_for_one_batch_size_alone_is_found(tmp_path, monkeypatch):
    fixed = lambda encoder, example, facts: torch.export.export(encoder, (example,))  # noqa: E731
    broken = replace(formats.FILES["pt2"], pack=fixed, open=lambda program: program.module())
    monkeypatch.setitem(formats.FILES, "pt2", broken)
    with pytest.raises((RuntimeError, AssertionError)):
        ae.export_encoder(dense(), tmp_path / "a.pt2", torch.rand(N, 4))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "a.pt2"
    path.write_bytes(b"before")
    with largest_file(100), pytest.raises(ae.StorageError, match="bytes needed"):
        ae.export_encoder(dense(), path, torch.rand(N, 4))
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["a.pt2"]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("a.onnx", {"format": "pt2"}, "--out ends in .onnx, but --format is pt2"),
        ("a.onnx", {"format": "torch"}, "--format must be one of onnx, pt2, safetensors, but is 'torch'"),
        ("a.pt2", {"quantize": True}, "quantization is for --format onnx, but the format is pt2"),
        ("hf:owner/name", {"format": "pt2"}, "hf:owner/name takes the folder of --format safetensors alone"),
        (".", {}, "holds files already. Name a new or empty folder"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(path, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(ae.ConfigError, match=message):
        ae.export_encoder(dense(), path, torch.rand(N, 4), **options)
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


class Bessel(nn.Module):
    """A layer of somebody else's."""

    def forward(self, x):
        return torch.special.bessel_j0(x)


def test_a_layer_that_onnx_lacks_is_named_with_the_way_out(tmp_path):
    encoder = encoder_of([nn.Sequential(nn.Linear(4, 2), Bessel())], (4,))
    with pytest.raises(ae.ConfigError, match=r"a layer has no counterpart in ONNX: .*bessel_j0.* Take --format pt2"):
        ae.export_encoder(encoder, tmp_path / "a.onnx", torch.rand(N, 4))
    assert not list(tmp_path.iterdir())
    assert ae.export_encoder(encoder, tmp_path / "a.pt2", torch.rand(N, 4)).parity.is_bitwise


def test_a_missing_package_is_one_line_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(ae.ConfigError, match=r'need the package no_such_package.*pip install "aepretrain\[export\]"'):
        ae.export_encoder(dense(), tmp_path / "a.onnx", torch.rand(N, 4))


def test_weights_of_8_bits_take_a_quarter_and_cost_little(tmp_path):
    encoder = encoder_of([nn.Sequential(nn.Linear(64, 256), nn.Sigmoid()), nn.Sequential(nn.Linear(256, 8))], (64,))
    small = ae.export_encoder(encoder, tmp_path / "small.onnx", torch.rand(200, 64), quantize=True)
    assert small.path.stat().st_size < 0.4 * sum(weight.nbytes for weight in encoder.parameters())
    assert 1e-5 < small.parity.largest < 0.05
    kinds = {node.op_type for node in onnx.load(small.path).graph.node}
    assert "MatMulInteger" in kinds
    assert not kinds & {"MatMul", "Gemm"}


def test_a_network_without_linear_layers_is_not_quantized():
    buffer = io.BytesIO()
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), buffer)
    with pytest.raises(ae.ConfigError, match="--quantize is for linear layers, but the network has none"):
        quantize_onnx(buffer.getvalue())


def test_the_network_of_a_head_gives_its_probabilities_or_values():
    encoder = dense()
    classifier, regressor = ae.Classifier(encoder.layers, 3), ae.Regressor(encoder.layers, 2)
    regressor.fit_targets(torch.tensor([[100.0, 1.0], [140.0, 3.0], [90.0, 4.0]]))
    for head in (classifier, regressor):
        nn.init.normal_(head.head.weight)
        nn.init.normal_(head.head.bias)
    raw = torch.randint(256, (N, 4), dtype=torch.uint8)
    with torch.no_grad():
        expected = [classifier.eval()(raw / 255).softmax(dim=1), regressor.eval()(raw / 255)]
        for head, outputs in zip((classifier, regressor), expected, strict=True):
            torch.testing.assert_close(with_outputs(head, encoder)(raw), outputs)


def test_a_folder_keeps_decoders_names_and_provenance(tmp_path):
    encoder = dense()
    encoder.columns, encoder.class_names, encoder.provenance = list("abcd"), ["x", "y"], {"seed": 7}
    encoder.preprocessing = "grey values"
    decoders = [(nn.Linear(3, 4), ae.Gaussian()), (nn.Linear(2, 3), ae.Gaussian())]
    errors = ae.ValidationErrors.of(torch.arange(1.0, 200))
    whole = ae.StackedAutoencoder(encoder, *zip(*decoders, strict=True), validation_errors=errors)
    x = 255 * torch.rand(N, 4)
    again = ae.load_autoencoder(ae.export_encoder(whole, tmp_path / "a", x).path)
    assert torch.equal(again.reconstruct(x), whole.reconstruct(x))
    assert again.threshold() == whole.threshold()
    found = again.encoder
    assert (found.columns, found.class_names, found.provenance) == (list("abcd"), ["x", "y"], {"seed": 7})
    assert found.preprocessing == "grey values"

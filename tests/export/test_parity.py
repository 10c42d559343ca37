"""Every way out of a stack gives the codes of the stack: a table with the largest difference of each."""

import pickle
import sys
from types import SimpleNamespace

import pytest
import torch

import aepretrain as ae
from aepretrain.data.columns import Column
from aepretrain.data.table_transform import TableTransform
from aepretrain.export.formats import FILES
from aepretrain.export.parity import compare_outputs
from aepretrain.sklearn import GreedyEncoder

N = 40
BITWISE = ("state dict", "safetensors", "pt2", "pickle", "hub folder", "scikit-learn")
COLUMNS = [Column("mass", "numeric", missing=True), Column("island", "category", ("a", "b", "c")), Column("x", "date")]


def table_rows():
    raw = torch.stack([1000 * torch.randn(N), torch.randint(4, (N,)).float(), 100 + torch.randn(N)], dim=1)
    raw[::7, 0], raw[::9, 1] = torch.nan, torch.nan
    return raw


def of_a_table():
    raw = table_rows()
    return TableTransform(COLUMNS, ae.Standardize()).fit(raw), raw, ae.Dense(9)


def of_pictures():
    return ae.Scale(255), torch.randint(256, (N, 1, 8, 8), dtype=torch.uint8), ae.Conv(2, hidden=(3,))


def stack_of(in_shape, coder, seed):
    layers = [lambda s: ae.DenoisingAutoencoder(s, coder), lambda s: ae.SparseAutoencoder(s, ae.Dense(4))]
    return ae.GreedyStack(in_shape, layers, seed=seed).eval()


def ways_out(again, encoder, folder, raw, monkeypatch):
    """Functions of raw rows, by the name of the way out."""
    yield "state dict", torch.nn.Sequential(encoder.transform, again.encoder.eval())
    yield "safetensors", ae.load_encoder(ae.export_encoder(encoder, folder / "folder", raw).path)
    for format in FILES:
        yield format, ae.export_encoder(encoder, folder / f"a.{format}", raw, preprocessing=True).network
    yield "pickle", pickle.loads(pickle.dumps(encoder))
    download = SimpleNamespace(snapshot_download=lambda repo, **more: folder / "folder")
    monkeypatch.setitem(sys.modules, "huggingface_hub", download)
    yield "hub folder", ae.load_encoder("hf:owner/name")
    if not isinstance(encoder.transform, TableTransform):  # whose rows an estimator takes as a frame with text
        estimator = GreedyEncoder.from_run(folder / "folder")
        yield "scikit-learn", lambda rows: torch.from_numpy(estimator.transform(rows.flatten(1).numpy()))


@pytest.mark.parametrize("make", [of_a_table, of_pictures])
def test_every_way_out_gives_the_codes_of_the_stack(make, tmp_path, monkeypatch):
    transform, raw, coder = make()
    raw_shape = tuple(raw.shape[1:])
    stack, again = (stack_of(transform.out_shape(raw_shape), coder, seed) for seed in (1, 2))
    again.load_state_dict(stack.state_dict())
    saved = ae.save_encoder(stack.encoder, tmp_path / "encoder", in_shape=raw_shape, transform=transform)
    reference = torch.nn.Sequential(transform, stack.encoder.eval())
    print(f"\n{make.__name__}")
    for name, network in ways_out(again, ae.load_encoder(saved), tmp_path, raw, monkeypatch):
        parity = compare_outputs(reference, network, raw)
        print(f"  {name:<12} {parity}")
        assert parity.is_bitwise if name in BITWISE else parity.largest < 1e-5, name

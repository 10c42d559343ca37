"""Sparse matrices in files give what the same dense rows give, bit for bit; damaged ones are refused in one line."""

import gzip
import io
import os
import re
import zipfile

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch

from aepretrain import Arrays, DataError, MappedArray
from aepretrain.cli.main import main
from aepretrain.data import sparse_files
from aepretrain.data.file_rows import FileRows, JoinedFiles, RowSource
from aepretrain.data.new_rows import open_new_rows
from aepretrain.data.sparse import SparseRows
from aepretrain.data.sparse_files import SparseFile
from tests.support.fuzzing import damaged, fuzz, refusal

GENERATOR = np.random.default_rng(0)
DENSE = GENERATOR.random((60, 40)) * ((np.arange(60)[:, None] - np.arange(40)) % 20 == 0)
Y = np.arange(60) % 3
MOST = 10**6


def saved(folder, kind, *, compressed=True, values=DENSE, name="x.npz"):
    scipy.sparse.save_npz(folder / name, scipy.sparse.coo_array(values).asformat(kind), compressed=compressed)
    return folder / name


def labels(folder):
    np.save(folder / "y.npy", Y)
    return folder / "y.npy"


def same(a, b):
    assert torch.equal(a.unlabelled[:], b.unlabelled[:])
    for split in ("train", "validation", "test"):
        one, other = getattr(a, split), getattr(b, split)
        assert torch.equal(one.x[:], other.x[:])
        assert torch.equal(one.y, other.y)


@pytest.mark.parametrize("budget", [None, "8kB"])
@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
def test_every_format_of_scipy_gives_the_splits_of_the_dense_rows(tmp_path, kind, budget):
    np.save(tmp_path / "x.npy", DENSE)
    y, settings = labels(tmp_path), {"memory_budget": budget, "validation": 8, "test": 8, "transform": "standardize"}
    sparse = MappedArray(saved(tmp_path, kind, compressed=kind != "csr"), y, **settings)
    splits = sparse.splits()
    assert isinstance(splits.train.x, FileRows) == (budget is not None)
    same(splits, MappedArray(tmp_path / "x.npy", y, **settings).splits())
    assert "float64, sparse" in sparse.notes[0]


def test_rows_beyond_the_budget_are_read_in_any_order_and_ahead(tmp_path):
    data = MappedArray(saved(tmp_path, "csc"), memory_budget="8kB", validation=8, test=8)
    rows = data.splits().unlabelled
    whole = torch.from_numpy(DENSE).float()[rows.numbers]
    assert torch.equal(torch.cat(list(rows.batches(5))), whole)
    assert torch.equal(rows[torch.tensor([7, 7, 0])], whole[[7, 7, 0]])
    assert len(rows[torch.tensor([], dtype=torch.long)]) == 0


@pytest.mark.parametrize("name", ["x.mtx", "x.mtx.gz"])
@pytest.mark.parametrize("field", ["real", "integer", "pattern"])
def test_matrix_market_gives_the_rows(tmp_path, name, field):
    values = {"real": DENSE, "integer": (DENSE * 9).astype(int), "pattern": (DENSE > 0).astype(float)}[field]
    text = io.BytesIO()
    scipy.io.mmwrite(text, scipy.sparse.coo_array(values), field=field)
    (tmp_path / name).write_bytes(gzip.compress(text.getvalue()) if name.endswith("gz") else text.getvalue())
    x, _ = MappedArray(tmp_path / name).read()
    assert torch.equal(x.raw()[:], torch.from_numpy(values).float())


@pytest.mark.parametrize("sign", [1, -1])
def test_symmetric_matrix_market_is_mirrored(tmp_path, sign):
    half = np.triu(np.arange(36.0).reshape(6, 6), k=1)
    square, symmetry = half + sign * half.T, "symmetric" if sign == 1 else "skew-symmetric"
    scipy.io.mmwrite(tmp_path / "x.mtx", scipy.sparse.coo_array(square), symmetry=symmetry)
    assert symmetry in (tmp_path / "x.mtx").read_text()
    assert torch.equal(MappedArray(tmp_path / "x.mtx").read()[0].raw()[:], torch.from_numpy(square).float())


def test_values_of_one_place_are_summed_as_scipy_does(tmp_path):
    twice = scipy.sparse.coo_array((np.ones(4), ([0, 0, 1, 2], [1, 1, 0, 2])), shape=(3, 3))
    scipy.sparse.save_npz(tmp_path / "x.npz", twice)
    assert MappedArray(tmp_path / "x.npz").read()[0].raw()[:].tolist() == twice.toarray().tolist()


def test_more_inputs_may_be_sparse_beside_dense_rows(tmp_path):
    np.save(tmp_path / "x.npy", DENSE)
    more = saved(tmp_path, "csr", values=DENSE[:20] * 2, name="more.npz")
    data = MappedArray(tmp_path / "x.npy", labels(tmp_path), more_inputs=more)
    assert torch.equal(data.source().unlabelled, torch.from_numpy(DENSE[:20] * 2).float())


def test_bytes_are_scaled_as_those_of_arrays_are(tmp_path):
    pixels = (DENSE * 255).astype(np.uint8)
    data = MappedArray(saved(tmp_path, "csr", values=pixels), labels(tmp_path), validation=12, test=12)
    same(data.splits(), Arrays(scipy.sparse.csr_array(pixels), Y).splits())


def test_a_matrix_beyond_memory_asks_for_a_budget_before_it_is_read(tmp_path):
    wide = scipy.sparse.coo_array((np.ones(9), (np.arange(9), np.arange(9))), shape=(10**6, 2**20))
    scipy.sparse.save_npz(tmp_path / "x.npz", wide)
    with pytest.raises(DataError, match=r"need 4\.19 TB as float32, but .* are free\. Set data\.memory_budget"):
        MappedArray(tmp_path / "x.npz").source()


def npz(**changes):
    """The bytes of a file as save_npz writes it, with other arrays in some places."""
    matrix = scipy.sparse.csr_array(DENSE)
    arrays = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
    parts = {"format": np.array("csr"), "shape": np.array(matrix.shape), **arrays, **changes}
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **{name: part for name, part in parts.items() if part is not None})
    return file.getvalue()


def lying_header():
    """A file whose data claim to hold 10**12 values."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(npz())) as valid, zipfile.ZipFile(file, "w") as lying:
        for name in valid.namelist():
            lying.writestr(name, valid.read(name).replace(b"(120,)", b"(120000000000,)"))
    return file.getvalue()


STORED = scipy.sparse.csr_array(DENSE)
REVERSED = STORED.indptr[::-1].copy()
FAR = np.where(np.arange(STORED.nnz) == 3, 99, STORED.indices)
COO = {"format": np.array("coo"), "row": FAR, "col": STORED.indices}
NEGATIVE = np.where(np.arange(STORED.nnz) == 3, -1, STORED.indices)
HEAD = "%%MatrixMarket matrix coordinate real general\n"
HOSTILE = {
    "index out of range": (npz(indices=FAR), "indices"),
    "negative index": (npz(indices=NEGATIVE), "indices"),
    "indptr not rising": (npz(indptr=REVERSED), "ind(ex|ices) pointer"),
    "too few indptr": (npz(indptr=STORED.indptr[:-1]), "index pointer size"),
    "indices are floats": (npz(indices=STORED.indices.astype(float)), "its indices must be whole numbers"),
    "10^12 columns": (npz(shape=np.array([60, 10**12])), "may have up to 16,777,216 columns"),
    "negative shape": (npz(shape=np.array([60, -40])), "may have up to"),
    "other shape": (npz(shape=np.array([6, 40])), "index pointer size"),
    "three axes": (npz(shape=np.array([60, 20, 2])), "its shape must be two whole numbers"),
    "shape of floats": (npz(shape=np.array([np.nan, 40])), "its shape must be two whole numbers"),
    "no shape": (npz(shape=None), "the array shape is missing"),
    "no indices": (npz(indices=None), "the array indices is missing"),
    "unknown format": (npz(format=np.array("lil")), "its format is 'lil', and must be one of csr"),
    "format of many": (npz(format=np.array(["csr", "csr"])), "holds no sparse matrix that can be read"),
    "objects": (npz(data=np.array([{}] * STORED.nnz)), "allow_pickle"),
    "text": (npz(data=np.array(["a"] * STORED.nnz)), "inputs must be numbers, but are text"),
    "complex": (npz(data=STORED.data * 1j), "inputs must be real numbers"),
    "not finite": (npz(data=np.where(STORED.data > 0.5, np.nan, STORED.data)), "NaN or infinity, the first in row"),
    "beyond float32": (npz(data=np.where(STORED.data > 0.99, 1e300, STORED.data)), r"is 1e\+300 in row \d+"),
    "10^12 rows": (
        npz(format=np.array("coo"), row=FAR, col=STORED.indices, shape=np.array([10**12, 40])),
        "needs 8 TB",
    ),
    "coo out of range": (npz(**COO), "exceeds matrix dim"),
    "dense": (npz(format=None), r"np\.load\('x\.npz'\)\['shape'\]"),
    "large and dense": (
        npz(format=None, shape=None, data=np.zeros(10**6)),
        r"holds no sparse matrix of SciPy, but the arrays data, indices, indptr",
    ),
    "bomb": (npz(data=np.zeros(10**6)), "arrays have .* bytes, and at most 1,000,000 are read"),
    "truncated": (npz()[:700], "not a zip file"),
    "lying header": (lying_header(), "holds no sparse matrix that can be read"),
    "empty": (b"", "not a zip file"),
    "market: out of range": (f"{HEAD}3 3 1\n4 1 1.0\n".encode(), "out of bounds"),
    "market: too few": (f"{HEAD}3 3 2\n1 1 1.0\n".encode(), "ends after 1 of 2 entries"),
    **{
        f"market: integer {value}": (
            HEAD.replace("real", "integer").encode() + f"3 3 2\n1 1 2\n2 1 {value}\n".encode(),
            f"entry 2 must be a whole number of 64 bits, but is {re.escape(shown)}",
        )
        for value, shown in (("0.5", "0.5"), ("nan", "nan"), ("inf", "inf"), ("1e30", "1e+30"))
    },
    "market: 10^12 entries": (f"{HEAD}3 3 1000000000000\n1 1 1.0\n".encode(), "needs 40 TB"),
    "market: complex": (HEAD.replace("real", "complex").encode() + b"3 3 1\n1 1 1 2\n", "must be real numbers"),
    "market: no numbers": (f"{HEAD}3 3 1\n1 1 one\n".encode(), "holds no sparse matrix that can be read"),
    "market: too many": (f"{HEAD}3 3 1\n1 1 1.0\n2 2 1.0\n".encode(), "must have 1 lines of 3 numbers"),
    "market: fractional place": (f"{HEAD}3 3 1\n1.5 1 1.0\n".encode(), "row 1.5, column 1, out of bounds"),
    "market: uneven lines": (f"{HEAD}3 3 2\n1 1\n2 2 1 1\n".encode(), "number of columns changed"),
    "market: dense": (HEAD.replace("coordinate", "array").encode() + b"1 1\n1.0\n", "must hold coordinates"),
    "market: no sizes": (f"{HEAD}3 3\n".encode(), "the line of sizes"),
    "market: oblong symmetric": (HEAD.replace("general", "symmetric").encode() + b"2 3 0\n", "must be square"),
    "market: not finite": (f"{HEAD}9 3 1\n2 1 nan\n".encode(), "NaN or infinity, the first in row 1, column 0"),
    "market: other text": (b"a,b\n1,2\n", "scipy.io.mmwrite"),
    "market: endless line": (HEAD.encode() + b"%" * (3 << 20), "a line has more than 65,536 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_is_not_what_it_says_is_refused_in_one_line(tmp_path, case):
    content, message = HOSTILE[case]
    path = tmp_path / ("x.mtx" if case.startswith("market") else "x.npz")
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        MappedArray(path, memory_budget=MOST).source()
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("name", ["x.npz", "x.mtx"])
def test_neither_a_missing_file_nor_a_pipe_is_read(tmp_path, name):
    with pytest.raises(DataError, match="does not exist"):
        MappedArray(tmp_path / name)
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="it is a pipe and not a regular file"):
        MappedArray(tmp_path / name)


@pytest.mark.parametrize("name", ["x.npz", "x.mtx", "x.mtx.gz"])
def test_what_the_system_refuses_is_told_as_such(tmp_path, name, monkeypatch):
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"it is a folder and not a regular file\. Name a file that can be read\."):
        MappedArray(tmp_path / name)

    def fail(*_):
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr(sparse_files, "_read_market" if "mtx" in name else "_read_npz", fail)
    with pytest.raises(DataError, match=r"is too large: Unable to allocate 9 GiB\. .*save fewer rows, or raise data"):
        MappedArray(tmp_path / name)


def test_two_sparse_files_share_the_budget(tmp_path):
    x, more = saved(tmp_path, "csr"), saved(tmp_path, "csr", name="more.npz")
    assert MappedArray(x, memory_budget=8000).count() == 60
    with pytest.raises(DataError, match=r"more\.npz: the matrix needs 5\.29 kB in memory, and may take 4\.32 kB"):
        MappedArray(x, more_inputs=more, memory_budget=6000)


@pytest.mark.parametrize("kind", ["scipy", "torch"])
def test_an_empty_matrix_is_refused_as_an_empty_array_is(kind):
    empty = scipy.sparse.csr_array((0, 3)) if kind == "scipy" else torch.zeros(0, 3).double().to_sparse()
    with pytest.raises(DataError, match=re.escape(str(refusal(lambda: Arrays(np.zeros((0, 3))))))):
        Arrays(empty)


@pytest.mark.parametrize("kind", ["csr", "coo", "bsr", "dia", "mtx", "mtx.gz"])
def test_damaged_files_are_read_or_refused(tmp_path, kind):
    path = tmp_path / f"x.{kind if 'mtx' in kind else 'npz'}"
    if "mtx" in kind:
        scipy.io.mmwrite(tmp_path / "x.mtx", STORED)
        valid = (tmp_path / "x.mtx").read_bytes()
        valid = gzip.compress(valid) if kind.endswith("gz") else valid
    else:
        valid = saved(tmp_path, kind, compressed=False).read_bytes()

    def check(content):
        path.write_bytes(content)
        if (error := refusal(lambda: SparseFile.read(path, MOST).rows().read(torch.arange(2)))) is not None:
            assert error.exit_code == 3, error
            assert path.name in str(error)

    fuzz(damaged(valid), check)


@pytest.mark.parametrize("kind", [SparseRows, JoinedFiles])
def test_rows_that_are_not_stored_as_such_offer_no_reading_as_stored(kind):
    assert issubclass(kind, RowSource)
    assert not hasattr(kind, "read_stored")


@pytest.mark.parametrize("name", ["x.npz", "x.mtx"])
def test_clocks_and_columns_are_named_as_in_dense_files(tmp_path, name):
    clock = scipy.sparse.csr_array(np.where(np.arange(40) == 5, 1.7e9 + np.arange(60)[:, None], DENSE))
    if name.endswith("npz"):
        scipy.sparse.save_npz(tmp_path / name, clock)
    else:
        scipy.io.mmwrite(tmp_path / name, clock)
    with pytest.raises(DataError, match="column 5 has values too close for float32"):
        MappedArray(tmp_path / name).source()
    with pytest.raises(DataError, match="column 5 has values too close for float32"):
        Arrays(clock)


def test_a_command_takes_a_sparse_file_from_a_config_to_codes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, "csr")
    labels(tmp_path)
    scipy.io.mmwrite("new.mtx", STORED)
    np.save("new.npy", DENSE)
    assert main(["init", "--data", "x.npz", "--target", "y.npy", "--out", "c.yaml"]) == 0
    quick = ["--pretrain.epochs", "1", "--finetune.epochs", "1", "--loggers", "[]", "--report", "false"]
    assert main(["validate", "--config", "c.yaml"]) == 0
    assert main(["fit", "--config", "c.yaml", *quick, "--out", "run"]) == 0
    for name in ("x.npz", "new.mtx", "new.npy"):
        assert main(["encode", "run", "--data", name, "--out", f"{name}.codes.npy"]) == 0
    codes = [np.load(f"{name}.codes.npy") for name in ("x.npz", "new.mtx", "new.npy")]
    assert np.array_equal(codes[0], codes[2])
    assert np.array_equal(codes[1], codes[2])
    for name in ("x.npz", "new.npy"):
        assert main(["sample", "run", "--interpolate", "3", "59", "--data", name, "--out", f"{name}.csv"]) == 0
    assert (tmp_path / "x.npz.csv").read_text() == (tmp_path / "new.npy.csv").read_text()
    assert main(["predict", "run", "--data", "x.npz", "--out", "p.csv"]) == 0
    assert main(["evaluate", "run"]) == 0
    assert main(["encode", "run", "--data", "narrow.npz", "--out", "n.npy"]) == 3
    saved(tmp_path, "csr", values=DENSE[:, :5], name="narrow.npz")
    capsys.readouterr()
    assert main(["encode", "run", "--data", "narrow.npz", "--out", "n.npy"]) == 3
    assert "narrow.npz has rows of shape (5,), but the run was trained on (40,)" in capsys.readouterr().err


def test_new_rows_stay_compressed_until_they_are_asked_for(tmp_path):
    wide = scipy.sparse.coo_array((np.ones(9), (np.arange(9), np.arange(9))), shape=(50, 2**16))
    scipy.sparse.save_npz(tmp_path / "x.npz", wide)
    rows = open_new_rows(tmp_path / "x.npz", (2**16,), columns=None, settings={})
    assert isinstance(rows.x, FileRows)
    assert torch.equal(rows.x[:9], torch.eye(9, 2**16))

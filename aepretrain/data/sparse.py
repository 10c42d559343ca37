"""Sparse matrices as dense rows: the whole in memory, or the rows that are asked for."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.budget import available_memory
from aepretrain.data.file_rows import RowSource, allocate
from aepretrain.data.float32 import check_digits, check_real, numpy_type, sampled_rows, to_float32
from aepretrain.data.origin import Origin
from aepretrain.data.rows import PIECE
from aepretrain.errors import DataError


class SparseRows(RowSource):
    """Rows of a sparse matrix in memory, which are made dense when they are read.

    Args:
        path: The file that the matrix comes from.
        matrix: Shape ``(N, D)``, real numbers.

    Example:
        >>> rows = SparseRows(Path("x.npz"), scipy.sparse.csr_array(np.eye(3)))
        >>> rows.read(torch.tensor([2, 0]))
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """

    def __init__(self, path: Path, matrix: scipy.sparse.csr_array) -> None:
        self.path = path
        self.row_shape = matrix.shape[1:]
        self.dtype = torch.float32
        self.offset = 0
        self.row_bytes = 4 * matrix.shape[1]
        self._matrix = matrix

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self._matrix)

    def close(self) -> None:
        """Do nothing: the file was closed when the matrix was read."""

    def read(self, numbers: Tensor) -> Tensor:
        found = self._matrix[numbers.numpy()]
        if not len(numbers):
            return torch.empty(0, *self.row_shape)
        narrow = scipy.sparse.csr_array((found.data.astype(np.float32), found.indices, found.indptr), found.shape)
        dense = allocate(len(numbers) * self.row_bytes).view(np.float32).reshape(found.shape)
        return torch.from_numpy(narrow.toarray(out=dense))


def densify(values: Any, origin: Origin) -> Tensor:
    """A sparse matrix as a dense tensor, if that and its splits fit into memory.

    Args:
        values: A matrix of SciPy or torch, shape ``(N, D)``.
        origin: Where the rows come from, for messages.

    Raises:
        DataError: If there is too little memory, or the values are no real numbers that fit float32.

    Example:
        >>> densify(scipy.sparse.csr_array(np.eye(2)), Origin("x"))
        tensor([[1., 0.],
                [0., 1.]])
    """
    needed, free = 2 * math.prod(values.shape) * 4, available_memory()
    if needed > free:
        raise DataError(
            f"{origin.name}: sparse inputs of shape {tuple(values.shape)} need {needed:,} bytes as dense float32 with "
            f"their splits, but {free:,} are free. Choose fewer columns, or save them by scipy.sparse.save_npz for "
            "MappedArray with a memory_budget."
        )
    if isinstance(values, Tensor):
        check_real(numpy_type(values, origin), origin)
        array = values.detach().cpu().to_dense().numpy()
        check_digits(array[sampled_rows(len(array))], origin)
        return torch.from_numpy(to_float32(array, origin))
    check_real(values.dtype, origin)
    rows = values.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    check_fits_float32(rows, origin)
    dense = np.empty(values.shape, np.float32)
    step = max(1, PIECE // max(1, dense[:1].nbytes))
    for begin in range(0, len(dense), step):
        dense[begin : begin + step] = rows[begin : begin + step].toarray()
    return torch.from_numpy(dense)


def check_fits_float32(matrix: scipy.sparse.csr_array, origin: Origin) -> None:
    """Raise a DataError if float32 cannot hold the values of a matrix, or does not tell them apart.

    Args:
        matrix: Shape ``(N, D)``, each place once.
        origin: Names rows and columns for the message.
    """
    with np.errstate(over="ignore"):
        over = np.isinf(matrix.data.astype(np.float32)) & np.isfinite(matrix.data)
    if over.any():
        row = int(np.searchsorted(matrix.indptr, int(over.argmax()), side="right")) - 1
        to_float32(matrix[[row]].toarray(), origin, row)
    sample = matrix[sampled_rows(matrix.shape[0])].tocsc()
    columns = _columns_with_equal(sample)
    step = max(1, PIECE // (4 * max(1, sample.shape[0])))
    for begin in range(0, len(columns), step):
        part = columns[begin : begin + step]
        check_digits(sample[:, part].toarray(), Origin(origin.name, columns=[str(column) for column in part]))


def _columns_with_equal(sample: scipy.sparse.csc_array) -> NDArray[np.int64]:
    """Numbers of the columns in which values that differ, zeros among them, become the same float32."""
    columns = np.repeat(np.arange(sample.shape[1]), np.diff(sample.indptr))
    order = np.lexsort((sample.data, columns))
    columns, values = columns[order], sample.data[order]
    narrow = values.astype(np.float32)
    vanishes = (narrow == 0) & (values != 0)
    meets = (columns[1:] == columns[:-1]) & (narrow[1:] == narrow[:-1]) & (values[1:] != values[:-1])
    return np.unique(np.concatenate([columns[vanishes], columns[1:][meets]]))

"""Quantization of the linear layers of an ONNX graph to 8-bit integers."""

import tempfile
from pathlib import Path

from aepretrain.errors import ConfigError
from aepretrain.export.traced import quiet


def quantize_onnx(data: bytes) -> bytes:
    r"""A graph whose linear layers have weights of 8 bits, by ONNX Runtime's dynamic quantization.

    .. math:: W \approx s \, (Q - q), \qquad Q_{ij} \in \{-128, \ldots, 127\}

    Scale and zero point are those of each output unit; inputs are quantized when the graph runs, by the least and
    largest value of the batch, so the outputs of a row depend slightly on the other rows of its batch.

    Args:
        data: A ``.onnx`` file, as :func:`~aepretrain.export.onnx_file.pack_onnx` writes it.

    Raises:
        ConfigError: If the graph has no linear layer.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load_from_string(data)
    if not any(node.op_type in ("MatMul", "Gemm") for node in model.graph.node):
        raise ConfigError("--quantize is for linear layers, but the network has none. Leave it out.")
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            model, path, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True
        )
        return path.read_bytes()

"""The format ``onnx``: an encoder as a graph that ONNX Runtime and others run without torch."""

import importlib.util
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from aepretrain.errors import ConfigError, one_line
from aepretrain.export.module import Encoder
from aepretrain.export.onnx_operators import translations
from aepretrain.export.traced import quiet, trace

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""The packages of the extra ``export``."""
INPUT = "x"
"""Name of the input of the graph."""
LARGEST = 2**31 - 2**20
"""Bytes that the weights of a graph in one file may take: protobuf holds no more than 2 GB."""


def check_packages() -> None:
    """Raise a ConfigError unless the packages of the extra ``export`` are installed."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise ConfigError(f'ONNX files need the package {missing[0]}. Install it by: pip install "aepretrain[export]"')


def pack_onnx(encoder: Encoder, example: Tensor, facts: Mapping[str, Any]) -> bytes:
    """An encoder as the bytes of a ``.onnx`` file, whose batch may have any size.

    Args:
        encoder: The encoder, on the CPU and in evaluation mode.
        example: At least two inputs, of the type that the graph will take.
        facts: What describes inputs and outputs, in plain values: the metadata of the file, each as JSON; ``output``
            names the output.

    Raises:
        ConfigError: If packages are missing, a layer has no counterpart in ONNX, or the weights exceed 2 GB.

    Example:
        >>> encoder = Encoder(NoTransform(), nn.Linear(4, 2), (4,), (2,)).eval()
        >>> open_onnx(pack_onnx(encoder, torch.rand(2, 4), {"output": "codes"}))(torch.rand(5, 4)).shape
        torch.Size([5, 2])
    """
    check_packages()
    size = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    if size > LARGEST:
        raise ConfigError(f"a .onnx file holds 2 GB, but the encoder has {size:,} bytes of weights. Take --format pt2.")
    try:
        with quiet():
            model = torch.onnx.export(
                trace(encoder, example),
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[facts["output"]],
                dynamic_shapes=({0: "batch"},),
                custom_translation_table=translations(),
            )
    except torch.onnx.OnnxExporterError as error:
        cause = one_line(str(error.__cause__ or error), 200)
        raise ConfigError(
            f"{type(encoder.transform).__name__} or a layer has no counterpart in ONNX: {cause}. Take --format pt2, or "
            "leave --with-preprocessing out."
        ) from error
    assert model is not None
    return _described(model.model_proto, facts)


def _described(model: Any, facts: Mapping[str, Any]) -> bytes:
    """The bytes of a model with metadata of ours in place of the exporter's, which tell folders of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for name, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
    model.producer_name = "aepretrain"
    return model.SerializeToString(deterministic=True)


def open_onnx(data: bytes) -> Callable[[Tensor], Tensor]:
    """The graph of a ``.onnx`` file as a function of its inputs, run by ONNX Runtime on one thread of the CPU."""
    check_packages()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {INPUT: x.contiguous().numpy()})[0])

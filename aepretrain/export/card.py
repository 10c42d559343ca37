"""The ``README.md`` of an encoder: a model card with a header in YAML, as the hub of Hugging Face reads it."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from aepretrain.export.decoders import has_decoders

TRANSFORM = "transform."
"""Prefix of the tensor names of the transform; those of the layers begin with the layer's number."""
TAGS = ("autoencoder", "greedy-layer-wise-pretraining", "unsupervised-pretraining")
_DECODING = """\
autoencoder = aepretrain.load_autoencoder("{name}")  # with its decoders
x_again, nats = autoencoder.reconstruct(x), autoencoder.error(x)  # raw values; one loss per row
"""


def model_card(config: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> str:
    """The model card of an encoder: what it takes, gives and was trained on, and how it is loaded.

    Args:
        config: Its ``config.json``.
        tensors: Its tensors.
        name: The place that it is loaded from.
    """
    weights = [tensor for name, tensor in tensors.items() if not name.startswith(TRANSFORM)]
    rows = {
        "input": f"{tuple(config['in_shape'])}, {math.prod(config['in_shape'])} values",
        "output": f"{tuple(config['code_shape'])}, float32",
        "parameters": f"{sum(tensor.numel() for tensor in weights):,}",
        "preprocessing": f"{config['preprocessing']} ({config['transform']['type']}, part of the encoder)",
        "columns": _listed(config["columns"]),
        "classes": _listed(config["classes"]),
        **_flat(config["provenance"]),
    }
    table = "\n".join(f"| {key} | {_cell(value)} |" for key, value in rows.items() if value is not None)
    shape = ", ".join(["B", *map(str, config["in_shape"])])
    order = "" if config["columns"] is None else ", with its columns in the order above"
    return f"""{_header(config)}
# An encoder, pretrained layer by layer

| | |
|---|---|
{table}

```python
import aepretrain

encoder = aepretrain.load_encoder("{name}")  # a torch.nn.Module: what is done to raw values, then the layers
codes = encoder(x)  # x: ({shape}), raw values as they are in the data, of any type{order}
codes = encoder.code(x_scaled)  # or values that went through encoder.transform already
{_DECODING.format(name=name) if has_decoders(config) else ""}```

`encoder.layers` are the layers alone, to go on training with; `encoder.columns` and `encoder.class_names` name columns
and classes, where the data had names. `config.json` holds the architecture and the provenance in plain values,
`encoder.safetensors` the weights, and under `{TRANSFORM}` the numbers of the transform.
"""


def _header(config: Mapping[str, Any]) -> str:
    """The metadata of the card; values are quoted as in JSON, which YAML contains."""
    variants = config["provenance"].get("variants")
    tags = [*TAGS, *dict.fromkeys(map(str, variants))] if isinstance(variants, list) else TAGS
    values = {"library_name": "aepretrain", "pipeline_tag": "feature-extraction", "tags": list(tags)}
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in values.items()), "---", ""])


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested facts to rows with keys such as ``versions: torch``."""
    rows: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            rows |= _flat(value, f"{prefix}{key}: ")
        else:
            rows[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return rows


def _listed(names: Sequence[str] | None) -> str | None:
    return None if names is None else ", ".join(names)


def _cell(value: Any) -> str:
    """Format a value for a Markdown table; names come from the user's data and are escaped."""
    return " ".join(str(value).split()).replace("|", "\\|")

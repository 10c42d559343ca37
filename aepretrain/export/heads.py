"""A classifier or regressor as an encoder with outputs of its own in place of codes: plain torch modules."""

import torch
from torch import nn

from aepretrain.export.module import Encoder
from aepretrain.heads import Head


def with_outputs(head: Head, like: Encoder) -> Encoder:
    r"""The network of a head for raw values: probabilities of classes, or predicted values.

    .. math:: y = \mathrm{softmax}(W f(t(r)) + b) \quad\text{or}\quad y = W f(t(r)) + b

    Args:
        head: A trained classifier or regressor.
        like: The encoder that it was built on, whose transform :math:`t`, names and provenance are taken.

    Returns:
        The map ``(B, *in_shape) -> (B, outputs)``, in evaluation mode.

    Example:
        >>> encoder = Encoder(Scale(255), nn.Sequential(nn.Linear(4, 2)), (4,), (2,))
        >>> network = with_outputs(Classifier(encoder.layers, 3), encoder)
        >>> network(torch.rand(5, 4)).sum(dim=1).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    tuned = Encoder(
        like.transform,
        nn.Sequential(*head.layers),
        like.in_shape,
        like.code_shape,
        columns=like.columns,
        class_names=like.class_names,
        preprocessing=like.preprocessing,
        provenance=like.provenance,
    )
    outputs = [output_in_units(head), nn.Softmax(dim=1)] if head.predicts_classes else [output_in_units(head)]
    return tuned.with_head(nn.Sequential(*outputs))


@torch.no_grad()
def output_in_units(head: Head) -> nn.Linear:
    """The output layer of a head, with the scale of its targets in the weights."""
    linear = nn.Linear(head.head.in_features, head.head.out_features)
    linear.load_state_dict({name: value.cpu() for name, value in head.head.state_dict().items()})
    if hasattr(head, "target_scale"):
        scale, mean = head.get_buffer("target_scale").cpu(), head.get_buffer("target_mean").cpu()
        linear.weight.mul_(scale[:, None])
        linear.bias.mul_(scale).add_(mean)
    return linear

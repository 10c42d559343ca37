"""The arms of a comparison: network, initial weights and training; and the pairs whose differences are reported."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One way to train a network. All arms of a seed share every other setting.

    Args:
        control: Use the control network instead of the network under test.
        pretrained: Start from the encoder pretrained with this seed, instead of from its random initial weights.
        frozen: Freeze the encoder and train only the head; of reconstructions, keep the layers as they were pretrained.
        longer: Add the compute of pretraining to the budget of fine-tuning.
    """

    control: bool = False
    pretrained: bool = False
    frozen: bool = False
    longer: bool = False


ARMS = {
    "pretrained": Arm(pretrained=True),
    "random": Arm(),
    "probe": Arm(pretrained=True, frozen=True),
    "random-longer": Arm(longer=True),
    "control-pretrained": Arm(control=True, pretrained=True),
    "control-random": Arm(control=True),
}

QUESTION = ("pretrained", "random")
"""The pair of arms whose difference decides the verdict."""

LONGER_QUESTION = ("pretrained", "random-longer")
"""The pair for the verdict at equal compute."""

CONTROL_QUESTION = ("control-pretrained", "control-random")
"""The pair for the verdict on the control network."""

CONTRASTS = (
    QUESTION,
    ("probe", "random"),
    ("random-longer", "random"),
    LONGER_QUESTION,
    CONTROL_QUESTION,
    ("pretrained", "control-random"),
    ("pretrained", "control-pretrained"),
    ("pretrained", "pca"),
)
"""The pairs of arms and baselines whose difference over seeds is reported, the first minus the second."""

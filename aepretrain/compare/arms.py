"""The arms of a comparison: what network, from what weights, trained how; and which pairs answer a question."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One way to a classifier. Everything that is not said here is shared by all arms of a seed.

    Args:
        control: The control network instead of the one under test.
        pretrained: From the encoder that was pretrained with this seed, instead of the random weights it began with.
        frozen: The encoder stays as it is and the head alone learns.
        longer: The compute of pretraining is added to the budget of fine-tuning.
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
"""The two arms whose difference is the verdict."""

LONGER_QUESTION = ("pretrained", "random-longer")
"""The same at equal compute: random weights have that of pretraining added to their budget."""

CONTROL_QUESTION = ("control-pretrained", "control-random")
"""The same for the control network."""

CONTRASTS = (
    QUESTION,
    ("probe", "random"),
    ("random-longer", "random"),
    LONGER_QUESTION,
    CONTROL_QUESTION,
    ("pretrained", "control-random"),
)
"""The pairs of arms whose difference over seeds is reported, the first minus the second."""

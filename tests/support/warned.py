"""Warnings of a data set, without those that every small or made-up data set has."""

GENERAL = ("byte for byte", "far from unit scale", "no feature varies", "no example of")


def special_warnings(data):
    """The warnings of a source itself, not those of :mod:`aepretrain.data.inspection` and of missing classes."""
    return [warning for warning in data.warnings if not any(words in warning for words in GENERAL)]

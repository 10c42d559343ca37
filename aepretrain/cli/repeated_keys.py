"""The keys of a YAML text and their lines: which stand twice, of which YAML would silently take the last."""

from collections.abc import Iterator

import yaml

Entry = tuple[str, int, bool]
"""A dotted key, its line, and whether it holds a single value."""


def repeated_keys(text: str) -> list[str]:
    """The keys that stand twice in a YAML text, one sentence each. Nothing of the text is built or run.

    A key stands twice, too, if it is written with dots and without, or beside a single value for what holds it.

    Raises:
        yaml.YAMLError: If it is no valid YAML.

    Example:
        >>> repeated_keys("seed: 1" + chr(10) + "seed: 2")
        ['seed stands twice, in lines 1 and 2. Leave one of them out.']
        >>> repeated_keys("seed: 1" + chr(10) + "report: false")
        []
    """
    found: list[str] = []
    seen: list[Entry] = []
    for key, line, is_single in _entries(yaml.compose(text, Loader=yaml.SafeLoader), "", set()):
        for other, first, other_is_single in seen:
            below, above = key.startswith(f"{other}."), other.startswith(f"{key}.")
            if key == other or (other_is_single and below) or (is_single and above):
                found.append(f"{min(key, other)} stands twice, in lines {first} and {line}. Leave one of them out.")
                break
        seen.append((key, line, is_single))
    return found


def line_of(key: str, text: str) -> int | None:
    """The line of a dotted key, or of the nearest key that holds it; ``None`` if the YAML text has neither.

    Example:
        >>> text = "seed: 1" + chr(10) + "data: {class_path: Digits, init_args: {labels: 4}}"
        >>> line_of("data.labels", text), line_of("finetune.epochs", text)
        (2, None)
    """
    lines = {name: line for name, line, _ in _entries(yaml.compose(text, Loader=yaml.SafeLoader), "", set())}
    parts = key.split(".")
    above = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((lines[name] for name in above if name in lines), None)


def _entries(node: yaml.Node | None, place: str, visited: set[int]) -> Iterator[Entry]:
    """All keys, each node once: an alias may hold itself, or many aliases one another."""
    if id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, entry in enumerate(node.value):
            yield from _entries(entry, f"{place}[{number}]", visited)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{place}.{key.value}" if place else str(key.value)
            # Arguments of a class may be written with init_args or without.
            yield name.replace(".init_args.", "."), key.start_mark.line + 1, isinstance(value, yaml.ScalarNode)
            yield from _entries(value, name, visited)

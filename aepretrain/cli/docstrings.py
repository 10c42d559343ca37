"""The settings of a class, read from its source without importing it: importing torch takes seconds."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from aepretrain.cli.options import Option

PACKAGE = Path(__file__).parents[1]
LONGEST = 75
"""Maximum number of characters of a sentence that keeps its brackets and what follows a semicolon."""
VALUES = {"int": "N", "float": "X", "bool": "BOOL", "str": "TEXT"}
"""Placeholder of a value by the first type of its annotation."""


def class_options(file: str, name: str, prefix: str) -> list[Option]:
    """The settings of a class as options: names and defaults of its signature, the first sentence of its docstring.

    Args:
        file: The module, as a path in the package.
        name: The class: a dataclass, or one whose settings are keywords of ``__init__``.
        prefix: What the names of the options begin with.

    Example:
        >>> option = class_options("training/options.py", "FineTuning", "--finetune.")[0]
        >>> option.name, option.value, option.help, option.default
        ('--finetune.epochs', 'N', 'passes over the labelled examples; 0 skips the head', 20)
    """
    found = next(node for node in _tree(file).body if isinstance(node, ast.ClassDef) and node.name == name)
    sentences = _described(ast.get_docstring(found) or "")
    return [
        Option(f"{prefix}{key}", _placeholder(annotation), sentences[key], default)
        for key, annotation, default in _declared(found)
        if key in sentences
    ]


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


def _declared(found: ast.ClassDef) -> Iterator[tuple[str, str, Any]]:
    """Name, annotation and default of every field of a dataclass, or of every keyword of ``__init__``."""
    init = next((node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"), None)
    if init is not None:
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            yield argument.arg, _text(argument.annotation), _value(default)
        return
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, _text(node.annotation), _value(node.value)


def _text(node: ast.expr | None) -> str:
    return "" if node is None else ast.unparse(node)


def _value(node: ast.expr | None) -> Any:
    """A default: its value where it is plain, else its last name, such as ``Adam``."""
    if node is None:
        return None
    try:
        value = ast.literal_eval(node)
    except ValueError:
        factory = re.fullmatch(r"field\(default_factory=(\w+)\)", ast.unparse(node))
        return {"dict": {}, "list": []}[factory[1]] if factory else ast.unparse(node).rsplit(".", 1)[-1]
    return list(value) if isinstance(value, tuple) else value


def _placeholder(annotation: str) -> str:
    literal = re.match(r"Literal\[(.*?)\]", annotation)
    if literal:
        words = literal[1].replace("'", "").replace(", ", "|")
        return words if "|" in words and len(words) < 20 else "NAME"
    if annotation.startswith(("Sequence", "list", "Mapping")):
        return "LIST" if not annotation.startswith("Mapping") else "DICT"
    return VALUES.get(re.split(r"[ \[|]", annotation)[0], "NAME")


def _described(docstring: str) -> dict[str, str]:
    """The first sentence on each argument of a docstring."""
    _, _, rest = docstring.partition("\nArgs:\n")
    section = re.split(r"\n\n|\n(?=\S)", rest)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE)
    return {name: _first_sentence(" ".join(text.split())) for name, text in entries}


def _first_sentence(text: str) -> str:
    text = re.sub(r",? ?:math:`[^`]*`", "", text)
    text = re.sub(r"``(.*?)``", r"\1", text).replace("None", "null")
    sentence = re.split(r"\.(?: |$)", text)[0]
    sentence = sentence[:1].lower() + sentence[1:]
    return re.sub(r" \([^)]*\)", "", sentence.split(";")[0]) if len(sentence) > LONGEST else sentence

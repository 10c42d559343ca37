"""Config errors in one line: the file and the line in it, the key, the rule, the value and the way out."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from aepretrain.cli.config_keys import (
    EXPECTED,
    GROUPS,
    LAYER,
    accepted_keys,
    known_classes,
    nearest,
    nearest_setting,
)
from aepretrain.cli.named_files import how_to_read, looks_like_file, stray_word
from aepretrain.cli.plain_yaml import load
from aepretrain.cli.repeated_keys import line_of
from aepretrain.data import DataModule

TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "pathlib.Path": "a path",
    "NoneType": "null",
    "list": "a list",
    "list[int]": "a list of whole numbers",
    "list[int | None]": "a list of whole numbers",
    "list[str]": "a list of words",
    "tuple": "a list",
    "tuple[int, ...]": "a list of whole numbers",
    "collections.abc.Sequence": "a list",
    "collections.abc.Sequence[str]": "a list of words",
    "collections.abc.Sequence[int]": "a list of whole numbers",
    "collections.abc.Sequence[float]": "a list of numbers",
    "collections.abc.Mapping": "keys and values",
    "dict": "keys and values",
}
"""Words for the types that a message of jsonargparse names."""


FROM_PYTHON = ("Arrays", "LightningData")
"""Sources that no file is named for."""


@dataclass(frozen=True)
class Refusal:
    """What jsonargparse says of words that it does not accept.

    Args:
        text: Its message, of several lines.
        files: The named config files.
        arguments: The arguments after the verb.
    """

    text: str
    files: Sequence[Path]
    arguments: Sequence[str]

    @property
    def key(self) -> str:
        """The dotted key of the setting, such as ``data.labels``; empty if the message names none."""
        keys = re.findall(r'Parser key "([^"]+)"', self.text)
        return ".".join(dict.fromkeys(keys))

    @property
    def base(self) -> type | None:
        """The class whose subclasses the setting takes; ``None`` if it takes something else."""
        names = [name for name in self.key.split(".") if not name.isdecimal()]
        return EXPECTED.get(names[-1]) if names else None

    @property
    def class_name(self) -> str:
        """The class whose arguments are not accepted."""
        found = re.search(r"class_path[ =]'([\w.]+)'", self.text)
        return found[1].rsplit(".", 1)[-1] if found else self.key

    def option(self, key: str) -> str | None:
        """The option of the command line that gives a key or what holds it; ``None``: a file does."""
        options = [word.split("=")[0] for word in self.arguments if word.startswith("--")]
        return next((word for word in options if key == word[2:] or key.startswith(f"{word[2:]}.")), None)

    def place(self, key: str) -> str:
        """The file and the line of a key, as the beginning of a message; empty where no file has it."""
        if self.option(key) is None:
            for file in reversed(self.files):
                if (line := line_of(key, file.read_text(encoding="utf-8"))) is not None:
                    return f"{file}, line {line}: "
        return ""


def explain(error: Exception, files: Sequence[Path], arguments: Sequence[str]) -> str:
    """One line that condenses an error message of jsonargparse.

    Args:
        error: The error of jsonargparse.
        files: The named config files.
        arguments: The arguments after the verb.

    Example:
        >>> explain(ValueError("unrecognized arguments: digits.yaml"), [], ["digits.yaml"])
        'digits.yaml stands without an option. A config is named by --config digits.yaml.'
    """
    # jsonargparse appends what it has read so far of the class, with all of its defaults.
    text, _, rest = str(error).partition(". Got value: Namespace(")
    class_path = re.match(r"class_path='[\w.]+'", rest)
    refusal = Refusal(f"{text}\n{class_path[0]}" if class_path else text, files, arguments)
    return next(found for each in EXPLANATIONS if (found := each(refusal)) is not None)


def _unknown_words(refusal: Refusal) -> str | None:
    found = re.match(r"unrecognized arguments: (\S+)", refusal.text)
    if not found:
        return None
    if not found[1].startswith("-"):
        return stray_word(next((word for word in refusal.arguments if word.split()[:1] == [found[1]]), found[1]))
    option = found[1].split("=")[0]
    first, *rest = option.lstrip("-").split(".")
    if first in GROUPS and rest:
        return f"{option} is not an option.{nearest(rest[0], accepted_keys(GROUPS[first]), before=f'--{first}.')}"
    after = "".join(f".{key}" for key in rest)
    if option == "--resume":
        return "--resume is an option of fit. A comparison goes on by the same command compare, with the same --out."
    return f"{option} is not an option.{nearest_setting(first, option='--', after=after)}"


def _unknown_argument(refusal: Refusal) -> str | None:
    """The message for an argument that the class does not have."""
    found = re.search(r"Option '([\w.]+)' is not accepted", refusal.text)
    if not found:
        return None
    name, key, class_name = found[1], refusal.key, refusal.class_name
    words = pairwise([*refusal.arguments, ""])
    given = ((word.split("=")[0], word.partition("=")[2] or value) for word, value in words if word.startswith("--"))
    option, value = next((each for each in given if f".{name}" in each[0]), (f"{key}.{name}", ""))
    known = known_classes(refusal.base or DataModule)
    having = sorted(other for other, cls in known.items() if name in accepted_keys(cls) and other not in FROM_PYTHON)
    if key == "data" and class_name not in known and name in accepted_keys(known["LightningData"]):
        path = re.search(r"class_path[ =]'([\w.]+)'", refusal.text)
        way = f"--data LightningData --data.datamodule {path[1] if path else class_name} {option} {value}"
        return f"{option} is no setting of {class_name}, but of LightningData, which reads it. Give {way}."
    if having and key == "data":
        way = (
            how_to_read(value)
            if looks_like_file(value)
            else f"Name one before it: --data {having[0]} {option} {value}."
        )
        return f"{option} is no setting of {class_name}, but of {', '.join(having)}. {way}"
    keys = accepted_keys(known[class_name]) if class_name in known else []
    near = nearest(name, keys, before=option.removesuffix(name) if option.startswith("--") else "")
    return f"{option} is not an option here: {class_name} has no setting {name!r}.{near}"


def _missing_argument(refusal: Refusal) -> str | None:
    found = re.search(r"the following arguments are required: ([\w, ]+)", refusal.text)
    if not found:
        return None
    first = found[1].split(",")[0]
    if not refusal.key:
        return f"--{first} is missing. Give it, as in --{first} VALUE."
    where = re.sub(r"^((?:control\.)?layers|callbacks)\b(?!\.\d)", r"\1.0", refusal.key)
    return f"{refusal.key}: {refusal.class_name} needs {found[1]}. Give it, as in --{where}.{first} VALUE."


def _untyped_argument(refusal: Refusal) -> str | None:
    """The message for a class of the user's whose constructor does not say what an argument is."""
    found = re.search(r"Parameter '(\w+)' from '([\w.]+)\.__init__' does not specify a type", refusal.text)
    if not found:
        return None
    place = f"{refusal.place(refusal.key)}{refusal.key}"
    return f"{place}: {found[2]} does not say of which type {found[1]} is. Annotate it, as in coder: Coder."


def _missing_value(refusal: Refusal) -> str | None:
    found = re.match(r"argument (\S+): expected one argument", refusal.text)
    if not found:
        return None
    # An argument of a class is parsed by the option of the class: the word itself has no value after it.
    words = pairwise([*refusal.arguments, "--"])
    bare = (word for word, value in words if word.startswith(f"{found[1]}.") and value.startswith("--"))
    option = next(bare, found[1])
    return f"{option} needs a value after it. Give one, or leave {option} out."


def _unknown_class(refusal: Refusal) -> str | None:
    """The message for a name that is no class, a class that may not be imported, or a file in place of one."""
    patterns = (
        r"Importing '([^']+)' is not allowed",
        r"Unexpected import path format: (.+)",
        r"Expected a dot import path string: (.+)",
        r"Unable to load config '([^']+)'",
    )
    found = next((match for pattern in patterns if (match := re.search(pattern, refusal.text))), None)
    last = refusal.key.split(".")[-1]
    if not found or ("Union subtypes" in refusal.text and refusal.base is None):
        return None
    name, place = found[1], f"{refusal.place(refusal.key)}{refusal.key}"
    if looks_like_file(name) or last in GROUPS:
        if last == "data":
            return f"{place} takes the name of a source, but {name} is a file or folder. {how_to_read(name)}"
        return f"{place}: there is no file {name}. Check the path, or give the settings one by one."
    if "not allowed" in found[0]:
        return (
            f"{place}: {name!r} is not on the list of what a config may import: classes of aepretrain, torch, "
            "torchvision and Lightning. If you trust its author with your account, add --trust-module "
            f"{name.split('.')[0]} to the command."
        )
    if refusal.base is None:
        return None
    return f"{place}: there is no {refusal.base.__name__} called {name!r}.{nearest(name, known_classes(refusal.base))}"


def _wrong_type(refusal: Refusal) -> str | None:
    """The message for a value of another type, such as ``seed must be a whole number, but is x``."""
    types = re.findall(r"Subtypes: \[(.*)\]", refusal.text) or re.findall(r"Expected a (.*?)\. Got", refusal.text)
    value = re.findall(r"(?:Given|Got) value: ?(.*)", refusal.text)
    if not types or not value:
        return None
    rule, shown = _rule(types[-1]), _as_written(value[0]) or "empty"
    key = _number_layer(refusal) if refusal.key.startswith("layers.") else refusal.key
    way = "Change it, or leave it out for the default."
    if "a list" in rule and looks_like_file(shown):
        way = "There is no such file: check the path."
    elif key == "data.target" and shown.startswith("["):
        way = "Name one column; several are predicted together by PretrainedRegressor of aepretrain.sklearn."
    elif key == "data.unlabelled" and looks_like_file(shown):
        way = f"Rows of a second file or folder are for pretraining alone by --data.more_inputs {shown}."
    elif value[0] and (rule.startswith("a list") or ("a list" in rule and "," in shown)):
        way = f"Write a list in brackets: [{shown}]."
    return f"{refusal.place(key)}{key} must be {rule}, but is {shown}. {way}"


def _as_written(value: str) -> str:
    """A value as a config has it, not as Python shows it."""
    return {"True": "true", "False": "false", "None": "null"}.get(value, value)


def _rule(types: str) -> str:
    """The words for the types that are accepted: ``int, NoneType`` becomes ``a whole number or null``."""
    names = [name.strip() for name in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", types)]
    words = [_type_words(name) for name in names if "Tensor" not in name]
    return " or ".join(dict.fromkeys(words))


def _type_words(name: str) -> str:
    name = name.strip().removeprefix("<class '").removesuffix("'>").replace("typing.", "")
    if name.startswith("Literal["):
        return f"one of {name.removeprefix('Literal[').removesuffix(']')}".replace("'", "")
    if name.startswith("collections.abc.Callable"):
        return "a class with its arguments"
    return TYPES.get(name, name.rsplit(".", 1)[-1] if "[" not in name else name.replace("collections.abc.", ""))


def _condensed(refusal: Refusal) -> str:
    """The innermost line of jsonargparse's nested message, with its key."""
    lines = [line.strip() for line in refusal.text.splitlines() if line.strip()]
    last = re.sub(r"^Type .* expects a function or a callable class: ", "", lines[-1])
    last = re.sub(r"Parser key \"[^\"]+\":? ?", "", last)
    return f"{refusal.place(refusal.key)}{refusal.key}: {last}" if refusal.key else last


def _composed_schedule(refusal: Refusal) -> str | None:
    """The message for a schedule of torch that is made of others, whose optimizer a config cannot give."""
    found = re.search(r"\b(ChainedScheduler|SequentialLR)\b", refusal.text)
    if not found and "scheduler.schedulers" not in refusal.key:
        return None
    name, place = found[1] if found else "SequentialLR", f"{refusal.place(refusal.key)}{refusal.key}"
    return (
        f"{place}: the parts of {name} need an optimizer, which a config cannot give. One after another they are "
        "{class_path: Schedules, init_args: {schedules: [LinearLR, CosineAnnealingLR], milestones: [5]}}, each with "
        "its init_args."
    )


EXPLANATIONS: tuple[Callable[[Refusal], str | None], ...] = (
    _unknown_words,
    _composed_schedule,
    _unknown_class,
    _unknown_argument,
    _missing_argument,
    _untyped_argument,
    _missing_value,
    _wrong_type,
    _condensed,
)


def which_layer(layers: Sequence[Any]) -> str:
    """The entry of the list that cannot be built, found by building each alone: jsonargparse does not name it."""
    parser = _layer_parser()
    for k, layer in enumerate(layers):
        try:
            parser.instantiate(Namespace(layer=layer))
        except (ValueError, TypeError):
            return f"layers[{k}]: "
    return ""


def name_files(files: Sequence[Path]) -> str:
    """The file names as the beginning of a message; empty without files."""
    return f"{', '.join(map(str, files))}: " if files else ""


def _layer_parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--layer", type=LAYER)
    return parser


def _number_layer(refusal: Refusal) -> str:
    """The key with the index of its layer, found by parsing each layer of the files alone."""
    parser = _layer_parser()
    for file in refusal.files:
        for k, layer in enumerate(load(file.read_text(encoding="utf-8")).get("layers", [])):
            try:
                parser.parse_object({"layer": layer})
            except ArgumentError:
                return refusal.key.replace("layers.", f"layers[{k}].", 1)
    return refusal.key

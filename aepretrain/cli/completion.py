"""Scripts by which shells complete verbs, options and their values; made without importing torch."""

from collections.abc import Iterable

from aepretrain.cli.main import VERBS
from aepretrain.cli.options import OWN, Option
from aepretrain.cli.short_help import GROUPS, group_options

SOURCES = (
    "CIFAR10", "Digits", "FashionMNIST", "ImageFolder", "LightningData", "MNIST", "MappedArray", "OneHotPatterns",
    "ParquetFolder", "Table",
)  # fmt: skip
"""The values of ``--data`` where it names a source."""
OF_SOURCES = ("--data.root", "--data.x", "--data.y", "--data.target", "--data.transform", "--data.more_inputs")
"""Settings of several sources, which no group declares."""
EVERYWHERE = ("--help", "--debug", "--trust-module")
WITH_CONFIG = ("fit", "compare", "validate")
VALUES = {
    "--data": SOURCES,
    "--data.transform": ("none", "standardize", "minmax", "rank_gauss"),
    "--format": ("onnx", "pt2", "safetensors"),
}
"""Values of options that the words ``a|b`` of an option do not tell."""


def completed_options(verb: str) -> dict[str, tuple[str, ...]]:
    """The options of a verb, each with its values; without values, a path may follow.

    Example:
        >>> completed_options("completion")
        {'--help': (), '--debug': (), '--trust-module': ()}
        >>> completed_options("compare")["--vectorize"], "--pretrain.epochs" in completed_options("fit")
        (('auto', 'on', 'off'), True)
    """
    known = [option for option in OWN[verb] if option.name.startswith("-")]
    if verb in WITH_CONFIG:
        known += [option for group in ("other", *GROUPS) for option in group_options(group)]
        known += [Option(name, "", "") for name in ("--config", *OF_SOURCES)]
    known += [Option(name, "", "") for name in EVERYWHERE]
    return {option.name: _values(verb, option) for option in known}


def _values(verb: str, option: Option) -> tuple[str, ...]:
    if option.name == "--data" and verb not in WITH_CONFIG:
        return ()
    if option.value == "BOOL":
        return ("true", "false")
    return VALUES.get(option.name, tuple(option.value.split("|")) if "|" in option.value else ())


def bash_script() -> str:
    """The script for bash, and for zsh after ``bashcompinit``."""
    return f"""\
_aepretrain() {{
    local verb="${{COMP_WORDS[1]}}" word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}" words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{" ".join([*VERBS, "--help", "--version"])}"
    else
        case "$verb $before" in
{_cases((f"{verb} {name}", values) for verb in VERBS for name, values in completed_options(verb).items() if values)}
            "completion completion") words="bash zsh fish" ;;
        esac
        if [ -z "$words" ] && [[ "$word" == -* ]]; then
            case "$verb" in
{_cases((verb, completed_options(verb)) for verb in VERBS)}
            esac
        fi
    fi
    if [ -n "$words" ]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    else
        local IFS=$'\\n'
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
complete -o filenames -F _aepretrain aepretrain
"""


def _cases(cases: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Lines of a ``case`` that set ``words``."""
    return "\n".join(f'            "{pattern}") words="{" ".join(words)}" ;;' for pattern, words in cases)


def zsh_script() -> str:
    """The script for zsh, which runs that for bash."""
    return f"autoload -U +X bashcompinit && bashcompinit\n{bash_script()}"


def fish_script() -> str:
    """The script for fish."""
    verbs = [
        f"complete -c aepretrain -n __fish_use_subcommand -f -a {name} -d '{text}'" for name, text in VERBS.items()
    ]
    lines = [_fish_line(verb, name, values) for verb in VERBS for name, values in completed_options(verb).items()]
    shells = "complete -c aepretrain -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'"
    return "\n".join([*verbs, *lines, shells]) + "\n"


def _fish_line(verb: str, name: str, values: tuple[str, ...]) -> str:
    more = f" -xa '{' '.join(values)}'" if values else ""
    return f"complete -c aepretrain -n '__fish_seen_subcommand_from {verb}' -l {name.removeprefix('--')}{more}"


SCRIPTS = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}

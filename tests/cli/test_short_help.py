"""The help of a verb is short and fast, and is held against the parser that it stands for."""

import re
import resource
import subprocess
import sys

import pytest
import yaml

from aepretrain.cli.config import build_parser
from aepretrain.cli.config_keys import accepted_keys
from aepretrain.cli.main import VERBS, main
from aepretrain.cli.options import DESCRIPTIONS, OWN
from aepretrain.cli.short_help import RARE, WIDTH, sections, short_help
from aepretrain.cli.verbs import compare, fit
from aepretrain.data import DataModule

PARSERS = {
    "fit": lambda: build_parser("fit", fit._add_own),
    "compare": lambda: build_parser("compare", compare._add_own),
    "validate": lambda: build_parser("validate"),
}
ELSEWHERE = ("--data.labels", "--data.unlabelled", "--data.split_seed")
"""Settings of most sources, which the parser takes as arguments of a class."""


@pytest.fixture(scope="module", params=PARSERS)
def verb(request):
    return request.param


@pytest.fixture(scope="module")
def parser(verb):
    return PARSERS[verb]()


def shown(verb):
    return {option.name: option for _, options in sections(verb) for option in options}


def named(parser):
    """The settings of a parser: its options, but for those that give a whole group or explain a class."""
    options = {name for action in parser._actions for name in action.option_strings}
    options = {name for name in options if name.startswith("--") and not name.endswith(("+", "help"))}
    groups = {name for name in options if any(other.startswith(f"{name}.") for other in options)}
    classes = {name for name in options if f"{name}.help" in {o for a in parser._actions for o in a.option_strings}}
    return (options - groups | classes) - {"--print_config"}


def test_every_option_of_the_help_is_one_of_the_parser(verb, parser):
    assert shown(verb).keys() - {*ELSEWHERE} <= named(parser)
    assert {name.removeprefix("--data.") for name in ELSEWHERE} <= set(accepted_keys(DataModule))


def test_every_setting_of_fit_is_explained_or_at_least_named():
    own = {name for name in named(PARSERS["fit"]()) if not name.startswith(("--compare.", "--control."))}
    assert own == (shown("fit").keys() | {*RARE}) - {*ELSEWHERE}
    assert all(name in short_help("fit") for name in own)


def test_every_setting_of_a_comparison_is_explained():
    of_fit = named(PARSERS["fit"]())
    own = {name for name in named(PARSERS["compare"]()) if name.startswith("--compare.") or name not in of_fit}
    assert own <= shown("compare").keys()


def test_the_defaults_are_those_of_the_parser(verb, parser):
    defaults = yaml.safe_load(parser.dump(parser.get_defaults(), skip_unset=False, skip_validation=True))
    for name, option in shown(verb).items():
        if name in (*ELSEWHERE, "--config"):
            continue
        value = defaults
        for part in name.removeprefix("--").split("."):
            value = value[part.replace("-", "_")]
        expected = option.default["class_path"] if name == "--data" else option.default
        if isinstance(value, dict) and "class_path" in value:
            value = value["class_path"].rsplit(".", 1)[-1]
        assert value == expected, name


def test_the_texts_are_those_of_the_parser(verb, parser):
    said = plain(parser.format_help())
    for name, option in shown(verb).items():
        if name not in ELSEWHERE:
            assert plain(option.help)[:25] in said, name


def plain(text):
    """A text in small letters without marks, brackets and line breaks."""
    text = re.sub(r" \([^)]*\)|`|:math:", "", " ".join(text.split()))
    return text.lower().replace("none", "null")


def test_the_help_of_fit_is_two_screens_of_80_columns_with_the_common_settings_first(capsys):
    assert main(["fit", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    places = [text.index(f"\n  {name} ") for name in ("--config", "--data", "--pretrain.epochs", "--trainer.devices")]
    assert places == sorted(places)
    assert "--compare." not in text
    assert "--control." not in text
    assert "\n  --finetune.epochs N         passes over the labelled examples; 0 skips the\n" in text
    assert " head [20]\n" in text


def seconds_of_children():
    """What finished processes took of the processor: other programs that keep it busy do not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_is_fast_because_it_imports_no_torch(verb):
    program = f"""if True:
        import sys
        from aepretrain.cli.main import main
        assert main([{verb!r}, "--seed", "1", "--help"]) == 0
        sys.exit("torch" in sys.modules or "jsonargparse" in sys.modules)
    """
    before = seconds_of_children()
    answer = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert seconds_of_children() - before < 1
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"usage: aepretrain {verb} ")
    assert len(answer.stdout.splitlines()) <= 100


def test_help_all_has_every_setting_with_its_type(capsys):
    with pytest.raises(SystemExit) as left:
        main(["fit", "--help-all"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for words in ("--compare.seeds", "--control.layers", "--trainer.chunk_steps", "known subclasses", *RARE[1:]):
        assert words in text


def test_every_verb_has_a_description_and_its_own_arguments():
    assert DESCRIPTIONS.keys() == OWN.keys() == VERBS.keys()

"""The completion of the command, asked of the shells themselves."""

import shutil
import subprocess
import sys

import pytest

from aepretrain.cli.completion import OF_SOURCES, SOURCES, VALUES, completed_options
from aepretrain.cli.config import build_parser
from aepretrain.cli.config_keys import accepted_keys, known_classes
from aepretrain.cli.main import VERBS, main
from aepretrain.cli.verbs import fit
from aepretrain.data import DataModule

BASH = """\
source /dev/stdin
complete -p aepretrain >/dev/null || exit 3
COMP_WORDS=({line}) COMP_CWORD={last}
COMPREPLY=()
_aepretrain
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def scripts():
    """What the command prints for each shell."""
    found = {}
    for shell in ("bash", "zsh", "fish"):
        answer = subprocess.run(
            [sys.executable, "-m", "aepretrain", "completion", shell], capture_output=True, text=True, check=True
        )
        assert not answer.stderr
        found[shell] = answer.stdout
    return found


def by_bash(script, line, folder):
    words = line.split(" ")
    program = BASH.format(line=" ".join(repr(word) for word in words), last=len(words) - 1)
    return run(["bash", "--norc", "-c", program], script, folder)


def by_fish(script, line, folder):
    program = f"source; complete -C {line!r}"
    return {word.partition("\t")[0] for word in run(["fish", "--no-config", "-c", program], script, folder)}


def run(words, script, folder):
    answer = subprocess.run(words, input=script, capture_output=True, text=True, cwd=folder, timeout=60)
    assert (answer.returncode, answer.stderr) == (0, "")
    return {*filter(None, answer.stdout.splitlines())}


@pytest.fixture(params=["bash", "fish"])
def complete(request, scripts, tmp_path):
    """The completions of a line by a shell, in a folder with two files."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for name in ("birds.csv", "my runs.yaml"):
        (tmp_path / name).touch()
    ask = {"bash": by_bash, "fish": by_fish}[shell]
    return lambda line: ask(scripts[shell], line, tmp_path)


def test_verbs_options_and_values_are_completed(complete):
    assert complete("aepretrain e") == {"evaluate", "encode", "export"}
    assert complete("aepretrain ") >= VERBS.keys()
    assert complete("aepretrain fit --pretrain.e") == {"--pretrain.epochs"}
    assert {"--out", "--resume", "--config", "--data.labels", "--finetune.epochs"} <= complete("aepretrain fit --")
    assert complete("aepretrain fit --config a.yaml --data M") == {"MNIST", "MappedArray"}
    assert complete("aepretrain compare --vectorize o") == {"on", "off"}
    assert complete("aepretrain export runs/a --format ") == {"onnx", "pt2", "safetensors"}
    assert complete("aepretrain completion ") >= {"bash", "zsh", "fish"}


def test_files_are_completed_where_a_path_may_stand(complete):
    assert complete("aepretrain fit --config my") in ({"my runs.yaml"}, {"my\\ runs.yaml"})
    assert complete("aepretrain encode runs/a --data bi") == {"birds.csv"}
    assert not complete("aepretrain report --resume x --q")


def test_the_script_for_zsh_is_that_for_bash(scripts):
    first, _, rest = scripts["zsh"].partition("\n")
    assert first == "autoload -U +X bashcompinit && bashcompinit"
    assert rest == scripts["bash"]


def test_completed_options_and_values_are_those_of_the_parser():
    parser = build_parser("fit", fit._add_own)
    actions = {name: action for action in parser._actions for name in action.option_strings}
    of_data = {"--data", "--help", "--debug", "--trust-module", *OF_SOURCES}
    named = {name for name in completed_options("fit") if not name.startswith("--data.")}
    assert named - of_data <= actions.keys()
    sources = {
        name: cls for name, cls in known_classes(DataModule).items() if cls.__module__.startswith("aepretrain.d")
    }
    assert {*SOURCES} == sources.keys() - {"Arrays", "RecordedData"}
    settings = {f"--data.{key}" for name in SOURCES for key in accepted_keys(sources[name])}
    assert {*OF_SOURCES} <= settings
    assert VALUES["--data.transform"] == ("none", "standardize", "minmax", "rank_gauss")


def test_another_shell_is_refused_in_one_line(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert capsys.readouterr().err.count("\n") == 1

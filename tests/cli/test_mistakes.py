"""What a beginner mistypes is answered in one line that can be acted on; each line is held word for word."""

import shlex

import numpy as np
import pytest
import yaml
from PIL import Image

CONFIG = """\
layers:
- class_path: DenoisingAutoencoder
  init_args: {coder: {class_path: Dense, init_args: {features: 8}}}
- class_path: DenoisingAutoencoder
  init_args: {coder: {class_path: Dense, init_args: {features: 4}}}
report: false
loggers: []
pretrain: {epochs: 1}
finetune: {epochs: 1}
"""
TABLE = "Name it by --data Table --data.root table.csv, and its labels by --data.target COLUMN."
NPY = "Name it by --data MappedArray --data.x x.npy, and its labels by --data.y FILE."
PICTURES = "Name it by --data ImageFolder --data.root flat."
A_FILE = "data takes the name of a source, but {} is a file or folder. "
DEFAULT = "Change it, or leave it out for the default."


@pytest.fixture
def folder(tmp_path):
    """A folder as a beginner has it: a config, a table, an array, pictures, a module."""
    generator = np.random.default_rng(0)
    (tmp_path / "one.yaml").write_text(CONFIG)
    (tmp_path / "keys.yaml").write_text(CONFIG + "control: {batch_size: 3}\n")
    (tmp_path / "table.csv").write_text("1.5,2.5\n3.5,4.5\n")
    np.save(tmp_path / "x.npy", generator.random((60, 4), dtype=np.float32))
    np.save(tmp_path / "y.npy", np.arange(60) % 3)
    np.savez(tmp_path / "sparse.npz", data=np.ones(3))
    (tmp_path / "flat").mkdir()
    for number in range(12):
        pixels = (generator.random((8, 8, 3)) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "flat" / f"{number}.png")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(CONFIG)
    return tmp_path


MISTAKES = {
    "fit one.yaml": "one.yaml stands without an option. A config is named by --config one.yaml.",
    "compare one.yaml --out c": "one.yaml stands without an option. A config is named by --config one.yaml.",
    "fit --config one.yaml table.csv": f"table.csv stands without an option. {TABLE}",
    "fit x.npy": f"x.npy stands without an option. {NPY}",
    "fit flat": f"flat stands without an option. {PICTURES}",
    "fit run": "run stands without an option. A stopped run goes on by fit --resume run, and --config run/config.yaml "
    "takes its settings.",
    "fit foo": "foo stands without an option. Settings are written as --NAME VALUE; --help after the verb lists them.",
    "validate --config one.yaml --data table.csv": A_FILE.format("table.csv") + TABLE,
    "validate --config one.yaml --data ./x.npy": A_FILE.format("./x.npy") + NPY.replace("x.npy", "./x.npy"),
    "validate --config one.yaml --data flat": A_FILE.format("flat") + PICTURES,
    "validate --config one.yaml --data flat/": A_FILE.format("flat/") + PICTURES.replace("flat", "flat/"),
    "validate --config one.yaml --data 'my table.parquet'": A_FILE.format("my table.parquet")
    + "Name it by --data Table --data.root 'my table.parquet', and its labels by --data.target COLUMN.",
    "validate --config one.yaml --data mine.py": A_FILE.format("mine.py")
    + "Name a class in it by --data mine.CLASS --trust-module mine.",
    "validate --config one.yaml --data flat/0.png": A_FILE.format("flat/0.png")
    + "Put pictures into a folder, and name it by --data ImageFolder --data.root FOLDER.",
    "validate --config one.yaml --data sheet.xlsx": A_FILE.format("sheet.xlsx")
    + "No source reads .xlsx files. Save it as .csv or .parquet, and name that by --data Table --data.root sheet.csv "
    "--data.target COLUMN.",
    "validate --config one.yaml --data table.npz": A_FILE.format("table.npz")
    + "Name it by --data MappedArray --data.x table.npz, and its labels by --data.y FILE.",
    "validate --config one.yaml --data words.mtx.gz": A_FILE.format("words.mtx.gz")
    + "Name it by --data MappedArray --data.x words.mtx.gz, and its labels by --data.y FILE.",
    "validate --config one.yaml --data Digit": "data: there is no DataModule called 'Digit'. Did you mean Digits?",
    "validate --config one.yaml --data mine.Data": "data: 'mine.Data' is not on the list of what a config may import: "
    "classes of aepretrain, torch, torchvision and Lightning. If you trust its author with your account, add "
    "--trust-module mine to the command.",
    "validate --config one.yaml --data MappedArray": "data: MappedArray needs x. Give it, as in --data.x VALUE.",
    "validate --config one.yaml --data.root flat": "--data.root is no setting of Digits, but of CIFAR10, FashionMNIST, "
    f"ImageFolder, MNIST, ParquetFolder, Table. {PICTURES}",
    "validate --config one.yaml --data.lables 4": "--data.lables is not an option here: Digits has no setting "
    "'lables'. Did you mean --data.labels?",
    "validate --config one.yaml --data.labels many": "data.labels must be a whole number or null, but is many. "
    + DEFAULT,
    "validate --config table.csv": f"the config table.csv must hold keys and values, but holds text. If it is data: "
    f"{TABLE}",
    "validate --config one.yaml --finetune.epochs": "--finetune.epochs needs a value after it. Give one, or leave "
    "--finetune.epochs out.",
    "validate --config one.yaml --pretrain.epochs 1,2": "pretrain.epochs must be a whole number or a list of whole "
    "numbers, but is 1,2. Write a list in brackets: [1,2].",
    "validate --config one.yaml --pretrain.epochs 1e3": "pretrain.epochs must be a whole number or a list of whole "
    f"numbers, but is 1000.0. {DEFAULT}",
    "validate --config one.yaml --pretrain.epochs off": "pretrain.epochs must be a whole number or a list of whole "
    f"numbers, but is false. {DEFAULT}",
    "validate --config one.yaml --layers.0.coder.hidden 64": "layers.0.coder.hidden must be a list, but is 64. Write a "
    "list in brackets: [64].",
    "validate --config one.yaml --compare.baselines knn": "compare.baselines must be a list of words or null, but is "
    "knn. Write a list in brackets: [knn].",
    "validate --config one.yaml --classifier.class_weights foo": "classifier.class_weights must be one of balanced or "
    f"a list of numbers or null, but is foo. {DEFAULT}",
    "validate --config one.yaml --epochs 3": "--epochs is not an option. Did you mean --pretrain.epochs or "
    "--finetune.epochs?",
    "validate --config one.yaml --labels 3": "--labels is not an option. Did you mean --data.labels or "
    "--compare.labels?",
    "validate --config one.yaml --lr 0.1": "--lr is not an option. Did you mean --classifier.optimizer.lr?",
    "validate --confg one.yaml": "--confg is not an option. Did you mean --config?",
    "compare --config one.yaml --out there --resume there": "--resume is an option of fit. A comparison goes on by the "
    "same command compare, with the same --out.",
    "list Dense": "Dense is not a folder. Name a folder of configs (default: configs/). A class is explained by "
    "aepretrain fit --layers.help NAME or --data.help NAME.",
    "validate --config keys.yaml": "keys.yaml: unknown key 'control.batch_size'. Did you mean "
    "control.pretrain.batch_size or control.finetune.batch_size?",
    "validate --config one.yaml --data.root": "--data.root needs a value after it. Give one, or leave --data.root out.",
    "validate --config one.yaml --data.root --seed 1": "--data.root needs a value after it. Give one, or leave "
    "--data.root out.",
    "validate --config one.yaml --data.transform minmax": "--data.transform is no setting of Digits, but of "
    "MappedArray, ParquetFolder, Table. Name one before it: --data MappedArray --data.transform minmax.",
    "validate --config one.yaml --finetune.monitor acc": "finetune.monitor must be one of accuracy, "
    "balanced_accuracy, average_precision, loss, but got 'acc'. Name one of these.",
    "validate --config one.yaml --loggers csv": "loggers must be a list, but is csv. Write a list in brackets: [csv].",
    "validate --data Table --data.root table.csv --data.target [a,b]": "data.target must be text or null, but is "
    "['a', 'b']. Name one column; several are predicted together by PretrainedRegressor of aepretrain.sklearn.",
    "validate --config one.yaml --layers nope.yaml": "layers must be a list, but is nope.yaml. There is no such file: "
    "check the path.",
    "validate --config one.yaml --pretrain nope.yaml": "pretrain: there is no file nope.yaml. Check the path, or give "
    "the settings one by one.",
    "validate --config one.yaml --report maybe": f"report must be true or false, but is maybe. {DEFAULT}",
    "validate --config one.yaml --trainer.precision 8": "trainer.precision must be one of 32-true, bf16-mixed, "
    f"16-mixed, but is 8. {DEFAULT}",
    "validate --config one.yaml --classifier.scheduler StepLR": "classifier.scheduler: StepLR needs step_size. "
    "Give it, "
    "as in --classifier.scheduler.step_size VALUE.",
    "validate --config one.yaml --classifier.optimizer.lrr 1": "--classifier.optimizer.lrr is not an option here: Adam "
    "has no setting 'lrr'. Did you mean --classifier.optimizer.lr?",
    "compare --config one.yaml": "--out is missing. Give it, as in --out VALUE.",
    "validate --config one.yaml --layers.coder.features 5": "--layers.coder.features does not tell which of the layers "
    "it is of. Give its number, from 0: --layers.0.coder.features is of the first, --layers.1.coder.features of the "
    "last.",
    "validate --config one.yaml --layers.init_args.lam 5": "--layers.init_args.lam does not tell which of the "
    "layers it "
    "is of. Give its number, from 0: --layers.0.init_args.lam is of the first, --layers.1.init_args.lam of the last.",
    "validate --config one.yaml --layers.2.coder.features 5": "--layers.2.coder.features names number 2 of the layers, "
    "but they are numbered from 0 to 1. Add it to the list in a config.",
    "validate --config one.yaml --layers.0.coder.featurs 5": "--layers.0.coder.featurs is not an option here: "
    "Dense has no setting 'featurs'. Did you mean --layers.0.coder.features?",
    "validate --config one.yaml --layers.0.coder.features x": "layers.0.coder.features must be a whole number, but is "
    f"x. {DEFAULT}",
    "validate --config one.yaml --layers.0.coder.features": "--layers.0.coder.features needs a value after it. Give "
    "one, or leave --layers.0.coder.features out.",
    "validate --config one.yaml --layers.0 SparseAutoencodr": "layers.0: there is no Layer called 'SparseAutoencodr'. "
    "Did you mean SparseAutoencoder?",
    "validate --config one.yaml --callbacks.patience 3": "--callbacks.patience does not tell which of the callbacks it "
    "is of. Give its number, from 0: --callbacks.0.patience is of the first.",
    "validate --config one.yaml --control.layers.0.lam 3": "--control.layers.0.lam names number 0 of the "
    "control.layers, but there are none. Add it to the list in a config.",
}
DATA_MISTAKES = {
    "--data ImageFolder --data.root table.csv": "data.root names table.csv, which is a file. Name the folder of the "
    "pictures by --data.root.",
    "--data ImageFolder --data.root nope": "data.root names nope, which does not exist. Name the place of the data by "
    "--data.root.",
    "--data ParquetFolder --data.root flat": "flat holds no .parquet files. Name a folder that does, or one file, by "
    "--data.root.",
    "--data ParquetFolder --data.root table.csv": "table.csv is no Parquet file, or a damaged one. Name it "
    "by --data Table --data.root table.csv.",
    "--data Table --data.root table.csv": "table.csv: the first line must name the columns, but holds numbers: 1.5, "
    "2.5. Add a line of names.",
    "--data Table --data.root nope.csv": "data.root names nope.csv, which does not exist. Name a CSV or Parquet file, "
    "or a folder.",
    "--data Table --data.root flat": "flat holds no file that ends in .csv, .csv.gz, .tsv, .tsv.gz, .parquet. Name "
    "another by data.root.",
    "--data MappedArray --data.x table.csv": "table.csv is no .npy file. Make it so in Python: np.save('x.npy', "
    "np.loadtxt('table.csv', delimiter=',', dtype=np.float32)).",
    "--data MappedArray --data.x sparse.npz": "sparse.npz holds no sparse matrix of SciPy, but the arrays data. "
    "Save the inputs by np.save('x.npy', np.load('sparse.npz')['data']), and name x.npy.",
    "--data MappedArray --data.x nope.npy": "nope.npy does not exist. Check the path: it must name a .npy file.",
    "--data MNIST --data.root nope": "data.root names the folder nope, which does not exist. Make it, or name another "
    "by --data.root.",
    "--data MNIST --data.root flat --data.download false": "MNIST could not be read from flat: its files are "
    "not there. "
    "Name a folder in torchvision's layout by --data.root or AEPRETRAIN_DATA.",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_in_the_words_is_told_with_the_way_out(command, folder, refused):
    assert refused(2, *shlex.split(command)) == f"aepretrain: error: {MISTAKES[command]}\n"


@pytest.mark.parametrize("words", DATA_MISTAKES)
def test_data_that_cannot_be_read_are_told_with_the_way_out(words, folder, refused):
    pytest.importorskip("pyarrow")
    said = refused(3, "validate", "--config", "one.yaml", *shlex.split(words))
    assert said == f"aepretrain: error: {DATA_MISTAKES[words]}\n"


@pytest.mark.parametrize(
    "words",
    [
        "--data ImageFolder --data.root flat",
        "--data MappedArray --data.x x.npy --data.y y.npy",
    ],
)
def test_the_way_out_works(words, folder, runner):
    code, said = runner.run("validate", "--config", "one.yaml", *shlex.split(words), folder=str(folder))
    assert code == 0, said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--compare.labels=[20, 5000]"], 3, "compare.labels 5000, seed 0: class 0 has"),
        (["--compare.labels=[20]", "--compare.arms=[random, control-random]"], 2, "compare.arms name a control"),
        (["--compare.labels=[20]"], 0, ""),
    ],
)
def test_validate_checks_the_comparison_that_a_config_asks_for(words, code, said, folder, runner):
    found, output = runner.run("validate", "--config", "one.yaml", "--compare.seeds=1", *words, folder=str(folder))
    assert found == code
    assert said in output


IN_FILES = {
    "on_nan: off": "on_nan must be one of stop, skip, but is off.",
    "seed: 1.0": "seed must be a whole number, but is 1.0.",
    "seed: 1:30": "seed must be a whole number, but is 1:30.",
    "seed: 0o10": "seed must be a whole number, but is 0o10.",
    "report: nope": "report must be true or false, but is nope.",
    "data: {class_path: Digits, init_args: {labels: many}}": "data.labels must be a whole number or null, but is many.",
    "wandb: {tags: [1]}": "wandb.tags must be text, but is 1.",
}


@pytest.mark.parametrize("line", IN_FILES)
def test_a_value_of_a_wrong_type_is_told_with_its_file_and_line(line, tmp_path, refused):
    (tmp_path / "one.yaml").write_text(CONFIG.replace("report: false\n", "") + f"{line}\n")
    said = refused(2, "validate", "--config", "one.yaml")
    assert said == f"aepretrain: error: one.yaml, line 9: {IN_FILES[line]} {DEFAULT}\n"


def test_a_value_of_the_command_line_is_not_blamed_on_the_file(folder, refused):
    said = refused(2, "validate", "--config", "one.yaml", "--finetune.epochs", "x")
    assert said.startswith("aepretrain: error: finetune.epochs must be")


def test_a_layer_is_not_named_by_its_number_in_a_file(tmp_path, refused):
    (tmp_path / "one.yaml").write_text(CONFIG + "layers.0.coder.features: 5\n")
    said = refused(2, "validate", "--config", "one.yaml")
    assert "layers.0.coder.features must stand in the list layers. Only arguments name a layer by its number." in said


def test_settings_of_one_layer_change_that_layer_alone(folder, runner):
    words = ["--layers.0.coder.features", "6", "--layers.1.corruption.p=0.5"]
    words += ["--layers.0.init_args.corruption", "GaussianNoise"]
    code, said = runner.run("fit", "--config", "one.yaml", *words, "--out", "out", folder=str(folder))
    assert code == 0, said
    first, second = (layer["init_args"] for layer in resolved(folder / "out")["layers"])
    assert (first["coder"]["init_args"]["features"], second["coder"]["init_args"]["features"]) == (6, 4)
    assert first["corruption"]["class_path"] == "aepretrain.GaussianNoise"
    assert second["corruption"]["init_args"] == {"p": 0.5}


def resolved(run):
    return yaml.safe_load((run / "config.yaml").read_text())


def test_words_and_numbers_of_yaml_are_taken_as_meant(tmp_path, runner):
    text = CONFIG.replace("report: false", "report: off")
    text += "seed: 010\nwandb: {name: off, tags: [010, no, 2026-11-30, 1:30]}\nclassifier: {freeze_encoder: yes}\n"
    (tmp_path / "one.yaml").write_text(text)
    words = ("fit", "--config", "one.yaml", "--data.labels", "0100", "--wandb.entity", "on", "--out", "out")
    code, said = runner.run(*words, folder=str(tmp_path))
    assert code == 0, said
    found = resolved(tmp_path / "out")
    assert (found["report"], found["seed"], found["classifier"]["freeze_encoder"]) == (False, 10, True)
    assert found["data"]["init_args"]["labels"] == 100
    wandb = found["wandb"]
    assert (wandb["name"], wandb["entity"]) == ("off", "on")
    assert wandb["tags"] == ["010", "no", "2026-11-30", "1:30"]
    code, said = runner.run("fit", "--config", "out/config.yaml", "--out", "again", folder=str(tmp_path))
    assert code == 0, said
    assert resolved(tmp_path / "again") == found

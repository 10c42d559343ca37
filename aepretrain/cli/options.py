"""The options that no class declares, and what the verbs do. It imports nothing slow, since ``--help`` reads it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option of the command line.

    Args:
        name: Its name; the name of an argument that stands without one begins with no dashes.
        value: Placeholder of its value in the help.
        help: What it does.
        default: Its default, in the form of a config; ``None``: there is none.

    Example:
        >>> Option("--seed", "N", "seed of everything", 0).keywords
        {'default': 0, 'help': 'seed of everything'}
    """

    name: str
    value: str
    help: str
    default: Any = None

    @property
    def keywords(self) -> dict[str, Any]:
        """Its arguments for ``add_argument``."""
        return {"help": self.help} if self.default is None else {"default": self.default, "help": self.help}


CONFIG = Option("--config", "FILE", "YAML file; later files override earlier ones")
SETTINGS = {
    "seed": Option("--seed", "N", "seed of the initial weights, the batch order, the noise and the labelled subset", 0),
    "data": Option(
        "--data",
        "NAME",
        "the data set, such as MNIST, Table (CSV, Parquet), MappedArray (.npy, sparse .npz) or ImageFolder; "
        "--data.help NAME explains one",
        {"class_path": "Digits"},
    ),
    "layers": Option(
        "--layers",
        "LIST",
        "one autoencoder per layer, from the input up, usually in a file; --layers.0.coder.features 64 changes the "
        "first",
        [],
    ),
    "head": Option(
        "--head",
        "CLASS",
        "class of the head in place of classifier, with settings of its own, such as my_head.FocalClassifier",
    ),
    "warm_start": Option(
        "--warm_start",
        "RUN",
        "begin with layers and preprocessing of this run",
    ),
    "warm_start_layers": Option(
        "--warm_start_layers", "N", "number of layers to take from that run, input first; default: all shared"
    ),
    "warm_start_sha256": Option(
        "--warm_start_sha256", "HEX", "required SHA-256 of that run's encoder; recorded in config.yaml"
    ),
    "on_nan": Option("--on_nan", "stop|skip", "stop at a loss that is not finite, or skip", "stop"),
    "callbacks": Option(
        "--callbacks",
        "LIST",
        "Lightning callbacks, created anew for every stage: a list of class_path and init_args; they need "
        "--trainer.engine lightning",
        [],
    ),
    "report": Option("--report", "BOOL", "write report.html at the end", True),
    "loggers": Option("--loggers", "LIST", "loggers beside metrics.jsonl; [] is none", ["wandb"]),
}
"""The settings of an experiment that are no group."""
CONTROL = Option(
    "--control.layers",
    "LIST",
    "a second network for the arms control-pretrained and control-random, with settings of its own",
    [],
)
NEW_ROWS = (
    Option("run", "RUN", "a run directory of fit"),
    Option("--data", "PATH", "table (CSV or Parquet), array (.npy, sparse .npz or .mtx) or pictures"),
    Option("--out", "FILE", "the file to write"),
)
DEVICE = Option("--device", "NAME", "cpu, cuda, cuda:1 or mps", "cpu")
PRETRAINED = Option(
    "--encoder", "NAME", "before or after fine-tuning with labels: pretrained or fine-tuned", "pretrained"
)
OWN = {
    "init": (
        Option(
            "--data",
            "PATH",
            "table (CSV or Parquet), array (.npy, sparse .npz or .mtx), folder of pictures, or Digits, MNIST, "
            "FashionMNIST, CIFAR10",
        ),
        Option("--target", "COLUMN", "column with the labels; of an array, the file with the labels"),
        Option("--out", "FILE", "the config to write, which must not exist"),
    ),
    "fit": (
        Option("--out", "DIR", "run directory, new or empty; else runs/NAME-TIME"),
        Option("--resume", "DIR", "run directory to resume from its last checkpoint"),
        Option(
            "--more-epochs",
            "N",
            "add N epochs to the fine-tuning of a finished run",
        ),
    ),
    "compare": (
        Option("--out", "DIR", "directory of the comparison; an existing one resumes"),
        Option("--workers", "N", "number of cells that run in parallel on this machine", 1),
        Option(
            "--backend",
            "NAME",
            "dask or ray (extras) for several machines; the workers share the storage of --out",
            "local",
        ),
        Option(
            "--vectorize",
            "auto|on|off",
            "train all seeds at once, as one batched model with each seed's own weights, order and noise: if possible "
            "and faster (auto), always (on), or never (off); results agree within rounding; needs one worker",
            "off",
        ),
        Option("--address", "URL", "address of the Dask scheduler or the Ray cluster"),
    ),
    "validate": (),
    "evaluate": (
        Option("run", "RUN", "a run directory"),
        Option(
            "--other_data",
            "",
            "measure although the data changed, or other data, named by --data.root or another path of the "
            "source; the names of the classes must be the same",
        ),
        Option(
            "--nll-samples",
            "K",
            "instead of the head, the negative log-likelihood of the test data under a variational first layer, by "
            "importance sampling with K draws for each row (5000 are published), and its active units",
        ),
    ),
    "encode": (
        *NEW_ROWS,
        Option("--layer", "N", "codes of this layer, from 0; default: the last"),
        Option(
            "--add",
            "LIST",
            "more values, separated by commas: error, prediction, probability, value, reconstruction; error is the "
            "reconstruction loss in nats per row, value the predicted real target",
        ),
        Option("--per-feature", "", "also the error of each feature"),
        Option(
            "--contamination",
            "SHARE",
            "add a column outlier: whether the error of a row exceeds a threshold that is found on the validation rows "
            "of the run; of new rows like these, on average at most this share is marked (0.01 needs 99 validation "
            "rows)",
        ),
        PRETRAINED,
        DEVICE,
    ),
    "predict": (*NEW_ROWS, DEVICE),
    "sample": (
        Option("run", "RUN", "a run directory of fit"),
        Option(
            "--out",
            "FILE",
            "the file to write: .png for pictures, with a .npz of the same name beside it; .npz, .npy, .csv, .parquet",
        ),
        Option("--count", "N", "number of items; default: 64, 400 on a manifold, 10 between two rows"),
        Option("--seed", "N", "seed of everything that is drawn", 0),
        Option("--steps", "N", "steps of each Markov chain before its item is taken", 100),
        Option("--draw", "", "samples of the likelihood, such as pixels of 0 and 1, instead of its mean"),
        Option(
            "--manifold",
            "",
            "a square of codes at the Gaussian quantiles; needs a prior and 2 features",
        ),
        Option("--interpolate", "I J", "interpolate between the codes of rows I and J (first row: 0)"),
        Option("--reconstruct", "N", "the first N rows and their reconstructions"),
        Option("--data", "PATH", "rows for chains, --interpolate and --reconstruct; default: validation rows"),
    ),
    "export": (
        Option("run", "RUN", "a run directory of fit"),
        Option("--out", "PATH", "file to write, new folder (safetensors), or hf:owner/name, which must exist"),
        Option(
            "--format",
            "NAME",
            "onnx (for ONNX Runtime and others, needs aepretrain[export]), pt2 (for torch.export.load) or safetensors "
            "(a folder for aepretrain.load_encoder); default: the ending of --out",
        ),
        Option("--head", "", "probabilities of classes, or predicted values, instead of codes"),
        Option("--layer", "N", "codes of this layer, from 0; default: the last"),
        PRETRAINED,
        Option(
            "--with-preprocessing",
            "",
            "take raw values, as encode and predict do, instead of scaled ones; of a table one number for each column, "
            "for a category the number of its value in the metadata of the file; safetensors always takes raw values",
        ),
        Option(
            "--input-type",
            "NAME",
            "type of raw values: float32, or uint8 for pictures as bytes, with --with-preprocessing",
            "float32",
        ),
        Option("--quantize", "", "8-bit weights of linear layers (onnx); prints their cost on validation rows"),
    ),
    "list": (Option("folder", "FOLDER", "folder whose configs are listed", "configs"),),
    "completion": (Option("shell", "bash|zsh|fish", "the shell that the script is for"),),
    "report": (Option("directory", "DIR", "a run directory or the directory of a comparison"),),
}
"""The arguments of each verb that are no setting of an experiment."""
DESCRIPTIONS = {
    "init": (
        "Look at a file or folder and write a config for it: the source, what the columns of a table hold, sizes and "
        "epochs by stated rules, likelihood and noise, and in comments what was noticed. Trains nothing."
    ),
    "fit": (
        "Pretrain a stack of autoencoders layer by layer, save its encoder, fine-tune a classifier (for a real target, "
        "a regressor) on it, and test it once. Settings come from YAML files and from dotted arguments, such as "
        "--pretrain.epochs 5 or --data.labels 100."
    ),
    "compare": (
        "Does pretraining help on these data, by how much, and at how many labels? Runs arms x seeds x label budgets "
        "that share everything but the encoder's weights, and baselines on the raw input. The same command resumes a "
        "stopped comparison; with more seeds or budgets, only the new cells are run."
    ),
    "validate": (
        "Check a config and its data, and print the plan of a run: stages, shapes, parameters, disk and memory. Trains "
        "nothing."
    ),
    "evaluate": (
        "Measure the head of a finished run again on validation and test data, from the run's files; or the likelihood "
        "of the test data under a variational first layer. Data that were moved are named by --data.root PATH, or by "
        "another path of their source."
    ),
    "encode": (
        "Write the codes of any rows to a file: .npy, .npz, .parquet or .csv by its ending. Rows are raw, as the data "
        "of the run were; they stay in their order, and may exceed memory. Ids (paths of pictures) and labels are kept "
        "where they exist. Tables need the columns of the run by name, in any order."
    ),
    "predict": (
        "Write the predicted class of any rows, by name, and the probability of each class to a file: .npz, .parquet "
        "or .csv by its ending; for a real target, its predicted value. Rows are raw, as the data of the run were; "
        "they stay in their order, and may exceed memory."
    ),
    "sample": (
        "Write new items of a finished run to a file. A variational or adversarial last layer draws codes from "
        "N(0, I); a Boltzmann machine as the last layer, or else a denoising first layer, runs one Markov chain for "
        "each item, from rows of data: Gibbs sampling, or corrupt, encode, draw, repeat. Pictures go to a mosaic, rows "
        "of a table to its own columns. The same command writes the same items."
    ),
    "export": (
        "Write the encoder of a finished run, or its classifier or regressor, to a file that other programs run on "
        "batches of any size. It is compared with the original on validation rows of the run before it is kept: pt2 "
        "and safetensors must be bitwise equal, onnx within 1e-5."
    ),
    "list": "List the layers, the data sources and the configs of a folder, each with its first line.",
    "completion": (
        "Print a script by which a shell completes verbs, options and paths. Put it in its startup file: "
        'eval "$(aepretrain completion bash)" in ~/.bashrc, the same with zsh in ~/.zshrc after compinit, and '
        "aepretrain completion fish | source in config.fish."
    ),
    "report": (
        "Write report.html again from the files of a run or of a comparison: one file without outside references, with "
        "the verdict first. Missing parts are left out, and the report lists them. Trains nothing and reads no data."
    ),
}

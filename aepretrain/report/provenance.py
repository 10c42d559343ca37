"""The provenance of a result: plan, commands, versions and config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from aepretrain.report.drawing import draw_or_explain
from aepretrain.report.markup import join
from aepretrain.report.page import code, fold, heading, missing, paragraph, section, table
from aepretrain.report.run_files import read_commands, read_config
from aepretrain.results.run import DataFacts, RunResult
from aepretrain.tracking.redaction import redact, redact_text


def provenance_section(folder: Path, results: RunResult | None, *, seeds: Sequence[int] | None = None) -> Markup:
    """Build the section on how a result was made.

    Args:
        folder: Directory of a run or comparison.
        results: Results of the run, or of one run of the comparison; None if there are none yet.
        seeds: Seeds of the comparison; None for a run.
    """
    text, config = read_config(folder)
    commands = [redact_text(line) for line in read_commands(folder)]
    data = None if results is None else results.data
    several = seeds is not None
    return section(
        "How this was made",
        heading("Plan"),
        draw_or_explain("the plan", lambda: _plans(config, data, several=several))
        if config
        else missing("There is no config.yaml in this folder."),
        heading("Commands"),
        code("\n".join(commands), "commands") if commands else missing("No command was recorded: run from Python."),
        heading("Versions"),
        missing("No versions: results.json is not there yet.") if results is None else versions_table(results, seeds),
        fold("Config, with every default", code(_shown(text, config), "config")) if text else Markup(""),
    )


def _shown(text: str, config: Mapping[str, Any]) -> str:
    """The text of a config; written anew where it holds secrets."""
    shown = redact(config)
    return text if shown == config else yaml.safe_dump(shown, sort_keys=False)


def _plans(config: Mapping[str, Any], data: DataFacts | None, *, several: bool) -> Markup:
    """Plan of the network, of the control network if any, and the settings tried on validation data."""
    parts = [plan_table(config, data, several=several)]
    control, grid = config.get("control") or {}, (config.get("compare") or {}).get("grid")
    if control.get("layers"):
        parts += [heading("Plan of the control network"), plan_table(control, data, several=several)]
    if source := config.get("warm_start"):
        parts.append(
            paragraph(
                f"The layers begin with those of {source}, whose encoder has the SHA-256 "
                f"{config.get('warm_start_sha256')}, and the data are scaled as there."
            )
        )
    if grid and several and _has_labels(data):
        tried = "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in grid.items())
        parts.append(paragraph(f"Tried for every arm and label budget, and chosen on validation data: {tried}."))
    return join(parts)


def plan_table(config: Mapping[str, Any], data: DataFacts | None, *, several: bool = False) -> Markup:
    """Table with a row per stage of the plan: what is trained, on which examples, for how long.

    Args:
        config: The resolved config.
        data: The data set; None if no run has finished.
        several: Whether there are several label budgets, as in a comparison.
    """
    layers = config.get("layers", [])
    columns = ("stage", "what", "data", "epochs at most", "batch", "patience")
    pretrain, finetune = config.get("pretrain", {}), config.get("finetune", {})
    rows = [
        (
            f"layer {k + 1}",
            _describe(layer),
            _examples(None if data is None else data.unlabelled, "unlabelled") if k == 0 else f"codes of layer {k}",
            *(
                "frozen" if name == "epochs" and _is_frozen(pretrain, k) else _of_layer(pretrain.get(name), k)
                for name in ("epochs", "batch_size", "patience")
            ),
        )
        for k, layer in enumerate(layers)
    ]
    frozen, lowest = (config.get("classifier", {}).get(name) for name in ("freeze_encoder", "freeze_layers"))
    labelled = None if data is None else data.labelled
    if _has_labels(data):
        words = "head on the frozen encoder" if frozen else "whole network, fine-tuned"
        if lowest and not frozen:
            words = f"fine-tuned above layer {lowest}"
        lengths = (
            str(finetune.get("epochs", "-")),
            str(finetune.get("batch_size", "-")),
            str(finetune.get("patience")),
        )
        name = "classifier" if data is None or data.targets is None else "regressor"
        rows.append((name, words, "the label budgets" if several else _examples(labelled, "labelled"), *lengths))
    return table(columns, [[cell.replace("None", "none") for cell in cells] for cells in rows], words=3)


def _is_frozen(pretrain: Mapping[str, Any], k: int) -> bool:
    lowest = pretrain.get("freeze_layers")
    return isinstance(lowest, int) and k < lowest


def _describe(layer: Mapping[str, Any]) -> str:
    """Describe a layer of the config: variant, coder, likelihood, corruption, penalty and parameters."""
    arguments = layer.get("init_args", {})
    coder = arguments.get("coder", {})
    parts = [f"{_class(layer)}: {_call(coder)}" if coder else _class(layer)]
    for name in ("likelihood", "corruption", "penalty"):
        if arguments.get(name):
            parts.append(_call(arguments[name]))
    parts += [f"{name} {arguments[name]}" for name in ("lam", "p", "beta") if arguments.get(name) is not None]
    return ", ".join(parts)


def _call(spec: Any) -> str:
    """Format a class of the config, such as ``Dense(256, sigmoid)``; omits None, [] and booleans."""
    if not isinstance(spec, Mapping):
        return str(spec)
    values = spec.get("init_args", {}).values()
    shown = [str(value) for value in values if not (value is None or value == [] or isinstance(value, bool))]
    return f"{_class(spec)}({', '.join(shown)})" if shown else _class(spec)


def _class(spec: Mapping[str, Any]) -> str:
    return str(spec.get("class_path", "?")).rsplit(".", 1)[-1].removesuffix("Autoencoder")


def _of_layer(value: Any, k: int) -> str:
    return str(value[k] if isinstance(value, Sequence) and not isinstance(value, str) and k < len(value) else value)


def _has_labels(data: DataFacts | None) -> bool:
    return data is None or data.classes is not None or data.targets is not None


def _examples(count: int | None, split: str) -> str:
    return f"{split} examples" if count is None else f"{count:,} {split} examples"


def versions_table(results: RunResult, seeds: Sequence[int] | None = None) -> Markup:
    """Table of versions, the seed of the run or the seeds of the comparison, and the device."""
    seed = ", ".join(map(str, [results.seed] if seeds is None else seeds))
    found = {**results.versions, "seed": seed, "device": results.device}
    return table(tuple(found), [[str(value) for value in found.values()]], words=len(found))

"""One run from data to results: pretrain the stack, save its encoder, fine-tune a head, test it once."""

import contextlib
import importlib.metadata
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor, nn

from aepretrain import __version__
from aepretrain.console import print_line
from aepretrain.data import DataModule, OneHotPatterns
from aepretrain.data.lightning_data import as_source
from aepretrain.errors import ConfigError
from aepretrain.evaluation.reconstruction import measure_reconstruction
from aepretrain.export.architecture import describe
from aepretrain.export.encoder import load_encoder, save_encoder
from aepretrain.export.outliers import ValidationErrors
from aepretrain.finetuning.finetune import FineTuned, choose_epoch, finetune
from aepretrain.heads import Classifier, Head, Regressor
from aepretrain.layers.base import StageModule
from aepretrain.parts.likelihoods import Likelihood
from aepretrain.pretraining.stack import GreedyStack, LayerFactory, StageEnd
from aepretrain.pretraining.unroll import unroll
from aepretrain.processes import is_first_process
from aepretrain.report.drawing import draw_report
from aepretrain.report.run_report import write_run_report
from aepretrain.report.tsne import NeighbourEmbeddings
from aepretrain.report.two_dimensions import begin_embeddings
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.results.records import to_plain
from aepretrain.results.run import DataFacts, PatternCode, RunResult
from aepretrain.results.stage import StageRecord
from aepretrain.runs.artifacts import save_curves, save_epoch, save_inputs, save_samples
from aepretrain.runs.directory import check_unused, note_steps
from aepretrain.runs.drawing import drawing_report
from aepretrain.runs.measuring import head_summary, measure, with_head
from aepretrain.runs.row_outputs import validation_errors
from aepretrain.runs.warm_start import WarmStart
from aepretrain.storage.files import make_folder
from aepretrain.storage.guard import inside
from aepretrain.storage.json_files import finite
from aepretrain.tracking.options import Tracking
from aepretrain.tracking.run import TrackedRun, open_run
from aepretrain.training.context import CallbackFactory, EpochEnd, RunContext
from aepretrain.training.options import FineTuning, OnNaN, Pretraining, Saving, TrainerOptions
from aepretrain.training.recovery.run_data import record_or_check_data
from aepretrain.training.recovery.run_state import RunState
from aepretrain.training.schedules import check_schedule
from aepretrain.training.stage import check_training, optimizer_of

HeadFactory = Callable[..., Head]
"""Factory of a head from an encoder and the number of classes or of real targets; accepts further keyword arguments."""


@dataclass(frozen=True)
class Experiment:
    """The settings that determine the results of a run.

    Args:
        layers: One factory per layer, from the input up.
        data: The data set: a source, or a LightningDataModule or DataLoaders, which become one by
            :class:`~aepretrain.data.lightning_data.LightningData`.
        pretrain: How long each layer trains.
        classifier: Makes the head from an encoder and the number of classes, or of real targets; ``None``:
            :class:`~aepretrain.heads.classification.Classifier` or
            :class:`~aepretrain.heads.regression.Regressor`, as the labels are.
        finetune: How long the head trains; skipped for 0 epochs or data without labels.
        trainer: Devices and precision.
        seed: Seed of the initial weights, the batch order, the noise and the labelled subset.
        callbacks: Factories of Lightning callbacks, called for every stage; only for ``trainer.engine`` ``lightning``.
        report: Whether to write ``report.html`` at the end.
        checkpoint: How often a stage saves a checkpoint.
        on_nan: What to do if a loss is not finite: ``stop``, or ``skip`` the update and count it.
        tracking: The loggers of the run, in addition to ``metrics.jsonl``.
        warm_start: The run whose layers and preprocessing the stack begins with; ``None``: it begins at random.

    Example:
        >>> experiment = Experiment([lambda s: DenoisingAutoencoder(s, Dense(32))], Digits())
        >>> experiment.build_stack().stages
        ['00-denoising']
    """

    layers: list[LayerFactory]
    data: DataModule
    pretrain: Pretraining = Pretraining()
    classifier: HeadFactory | None = None
    finetune: FineTuning = FineTuning()
    trainer: TrainerOptions = TrainerOptions()
    seed: int = 0
    callbacks: Sequence[CallbackFactory] = ()
    report: bool = True
    checkpoint: Saving = Saving()
    on_nan: OnNaN = "stop"
    tracking: Tracking = Tracking(loggers=())
    warm_start: WarmStart | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", as_source(self.data))

    @property
    def has_classifier(self) -> bool:
        """Whether a head is trained: the data have classes or real targets, and fine-tuning has at least one epoch."""
        has_labels = self.data.num_classes is not None or self.data.num_targets is not None
        return has_labels and self.finetune.epochs > 0

    @property
    def head_factory(self) -> HeadFactory:
        """Makes the head: as given, or for what the labels are."""
        return self.classifier or (Classifier if self.data.num_targets is None else Regressor)

    def build_stack(self) -> GreedyStack:
        """Build the stack. Its initial weights depend only on the seed.

        Raises:
            ConfigError: If a layer cannot be built or a setting is out of range.
        """
        stack = GreedyStack(self.data.in_shape, self.layers, seed=self.seed)
        for k in range(len(self.layers)):
            self.pretrain.of_layer(k, len(self.layers))
        return stack

    def build_classifier(self, encoder: nn.Module) -> Head:
        """Build the head on an encoder. Its output layer starts at zero.

        Raises:
            ConfigError: If a setting is out of range, or the head does not fit the labels.
        """
        try:
            head = self.head_factory(encoder, self.data.num_targets or self.data.num_classes or 0)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"classifier: {' '.join(str(error).split())}") from error
        if head.predicts_classes and self.data.num_targets is not None:
            raise ConfigError(
                f"classifier makes a {type(head).__name__}, but {self.data.name} has a real target. Give a factory of "
                "Regressor, or set data.target_type class."
            )
        choose_epoch(head, self.finetune)
        return head

    def prepare(self, resumed: Path | None = None) -> GreedyStack:
        """Build all modules and validate the data, so that errors are raised before the first stage.

        Args:
            resumed: The run directory that is resumed, which holds a copy of the layers of a warm start.

        Raises:
            ConfigError: If a layer, an optimizer, the classifier, the devices or a logger is invalid or unavailable, or
                the encoder could not be saved.
            DataError: If the data are missing or do not fit the stack.
        """
        self.tracking.check()
        warm_start = self.warm_start and self.warm_start.found_in(resumed)
        if warm_start is not None:
            warm_start.prepare_data(self.data)
        stack = self.build_stack()
        for k, layer in enumerate(stack):
            try:
                describe(layer.encoder)
            except ValueError as error:
                raise ConfigError(f"layer {k} ({stack.stages[k]}): {error} Build its coder's f of these.") from error
        if warm_start is not None:
            warm_start.begin(stack)
        stack.check_frozen(self.pretrain)
        modules: dict[str, StageModule] = dict(zip(stack.stages, stack, strict=True))
        batch_sizes = {stage: self.pretrain.of_layer(k, len(self.layers))[1] for k, stage in enumerate(stack.stages)}
        if self.pretrain.unroll:
            modules[UNROLLED] = unroll(list(stack))
            batch_sizes[UNROLLED] = batch_sizes[stack.stages[-1]]
        if self.has_classifier:
            head = self.build_classifier(stack.encoder)
            modules[head.stage] = head
            batch_sizes[head.stage] = self.finetune.batch_size
        check_training(RunContext(seed=self.seed, trainer=self.trainer), modules, batch_sizes)
        stack.check(self.data, self.seed)
        self._check_schedules(stack, modules, batch_sizes)
        return stack

    def _check_schedules(
        self, stack: GreedyStack, modules: Mapping[str, StageModule], batch_sizes: Mapping[str, int]
    ) -> None:
        """Raise a ConfigError if the scheduler of a stage ends before it."""
        splits = self.data.splits(self.seed)
        settings = [self.pretrain.stage_settings(k, stack.stages) for k in range(len(self.layers))]
        epochs = {each.name: 0 if each.frozen else each.epochs for each in settings}
        for stage, module in modules.items():
            is_head = isinstance(module, Head)
            examples = len(splits.train if is_head else splits.unlabelled)
            most = self.finetune.epochs if is_head else epochs.get(stage, self.pretrain.unroll)
            check_schedule(stage, optimizer_of(module)[1], most * math.ceil(examples / batch_sizes[stage]))

    def warnings(self, stack: GreedyStack) -> list[str]:
        """What is likely to disappoint, found before training: warnings on the data and on the stack."""
        return [*self.data.warnings, *stack.warnings()]

    def run(
        self,
        out: Path,
        stack: GreedyStack | None = None,
        *,
        resume: bool = False,
        on_results: Callable[[RunResult], None] | None = None,
    ) -> RunResult:
        """Train everything and write the run directory. The report is drawn last: it cannot cost a result.

        Args:
            out: The run directory, which is made if need be. Only the first of several processes writes to it.
            stack: The stack returned by :meth:`prepare`, if already called.
            resume: Resume from ``out``, which must hold a run of the same experiment.
            on_results: Called with the results as soon as they are written, before the loggers and the report.

        Returns:
            What the run found, as ``results.json`` has it.

        Raises:
            ConfigError: If ``out`` holds a run already, and ``resume`` is not set.
        """
        if not resume:
            _make_unused(out)
        neighbours = NeighbourEmbeddings() if self.report and is_first_process() else None
        with neighbours or contextlib.nullcontext():
            if neighbours is not None:
                neighbours.load()
            with RunState(out).recording_outcome(), open_run(self.tracking, out, job_type="fit") as run:
                results = self._run(out, stack, run, neighbours, resume=resume)
                if on_results is not None:
                    on_results(results)
                run.log_outcome(results, encoder=out / "encoder")
                run.publish_report()
                run.print_wandb_links()
            if neighbours is not None:
                with drawing_report(out):
                    draw_report(partial(write_run_report, neighbours=neighbours), out)
        return results

    def _run(
        self,
        out: Path,
        stack: GreedyStack | None,
        run: TrackedRun,
        neighbours: NeighbourEmbeddings | None,
        *,
        resume: bool,
    ) -> RunResult:
        stack, results = self.pretrain_stack(out, stack, resume=resume, run=run, on_epoch=self._save_epoch(out))
        if neighbours is not None:
            begin_embeddings(out, neighbours)
        if stack.is_unrolled:
            reconstruction = measure_reconstruction(stack, self.data, self.seed).result
            results = replace(results, reconstruction=reconstruction)
            print_line(reconstruction.summary)
        if self.has_classifier:
            # The reference is read back from the exported file, which only the first process is sure to see.
            pretrained = load_encoder(out / "encoder").layers if is_first_process() else stack.encoder
            tuned = self.train_classifier(stack.encoder, out, pretrained=pretrained, resume=resume, run=run)
            head, measured = tuned.head, measure(tuned.head, self.data, self.seed)
            results, findings = with_head(results, tuned, measured, self.data.class_names)
            measured.write(inside(out, "stages", head.stage))
            print_line(head_summary(results))
            for finding in findings:
                print_line(f"warning: {finding}")
            if not head.freeze_encoder:
                folder = inside(out, "stages", head.stage, "encoder")
                _save(head.encoder, folder, self, results, "pretrained, then fine-tuned with labels")
        results.write(out / "results.json")
        return results

    def _save_epoch(self, out: Path) -> EpochEnd:
        """Saves what the first layer makes of pictures, for the report of a run."""
        return partial(save_epoch, out, self.seed, self.pretrain.picture_epochs, self.data.columns)

    def on_stage_end(self, context: RunContext) -> StageEnd:
        """Saves curves, codes and pictures of a stage in its folder."""
        return partial(save_samples, context, columns=self.data.columns)

    def pretrain_stack(
        self,
        out: Path,
        stack: GreedyStack | None = None,
        *,
        resume: bool = False,
        run: TrackedRun | None = None,
        on_epoch: EpochEnd | None = None,
    ) -> tuple[GreedyStack, RunResult]:
        """Train the stack and save its encoder.

        Args:
            out: The run directory, which is made if need be.
            stack: The stack returned by :meth:`prepare`, if already called.
            resume: Resume from ``out``.
            run: The tracked run; ``None``: write ``metrics.jsonl`` alone.
            on_epoch: What else is done after every epoch; ``None``: nothing.

        Returns:
            The stack, and what was found so far: without a classifier.

        Raises:
            ConfigError: If ``out`` holds a run already, and ``resume`` is not set.
        """
        if not resume:
            _make_unused(out)
        stack = stack or self.prepare(out if resume else None)
        if self.warm_start is not None:
            self.warm_start.found_in(out if resume else None).keep(out)
        context = replace(self.context(out, resume=resume, run=run), on_epoch=on_epoch)
        record_or_check_data(out, self.data, resume=resume)
        save_inputs(self.data.splits(self.seed).validation, out)
        stack.fit(self.data, self.pretrain, context, on_stage_end=self.on_stage_end(context))
        note_steps(out, stack.records)
        return stack, self.close_pretraining(stack, out)

    def close_pretraining(self, stack: GreedyStack, out: Path) -> RunResult:
        """Save the encoder of a trained stack, and return the results so far."""
        is_patterns = isinstance(self.data, OneHotPatterns)
        results = replace(
            self.empty_result(stack.records[0]),
            warm_start=stack.warm_start and replace(stack.warm_start, frozen=self.pretrain.freeze_layers),
            stages=tuple(stack.results()),
            warnings=(*self.warnings(stack), *(each for k in range(len(stack.records)) for each in stack.findings(k))),
            patterns=_pattern_codes(stack, self.data.splits().unlabelled[:]) if is_patterns else None,
        )
        folder = inside(out, "encoder")
        # The patterns of one-hot data are training rows too.
        x = None if is_patterns or not is_first_process() else self.data.splits(self.seed).validation.x
        errors = None if x is None else validation_errors(stack, x)
        state = "pretrained, then trained together" if stack.is_unrolled else "pretrained, not fine-tuned"
        _save(stack.encoder, folder, self, results, state, stack.decoders, errors)
        return results

    def train_classifier(
        self,
        encoder: nn.Module,
        out: Path,
        *,
        pretrained: nn.Module | None = None,
        resume: bool = False,
        run: TrackedRun | None = None,
    ) -> FineTuned:
        """Train the head on an encoder. The test data are not used.

        Args:
            encoder: What it starts from.
            out: The run directory, which exists.
            pretrained: What the encoder must be, bit for bit, before the first step.
            resume: Take up what ``out`` holds.
            run: What follows the training; ``None`` is ``metrics.jsonl`` alone.

        Raises:
            ConfigError: If ``out`` holds a trained head already, and ``resume`` is not set.
        """
        classifier, context = self.build_classifier(encoder), self.context(out, resume=resume, run=run)
        tuned = finetune(classifier, self.data, self.finetune, context, pretrained=pretrained)
        note_steps(out, [tuned.record])
        if not context.is_finished(tuned.record.stage):
            close_finetuning(tuned, context)
        return tuned

    def context(self, out: Path, *, resume: bool = False, run: TrackedRun | None = None) -> RunContext:
        """The context shared by all stages of a run in this directory."""
        loggers = (run or TrackedRun(out, Tracking(loggers=()))).loggers
        return RunContext(
            self.seed,
            self.trainer,
            out,
            loggers,
            self.callbacks,
            saving=self.checkpoint,
            on_nan=self.on_nan,
            resume=resume,
        )

    def empty_result(self, record: StageRecord) -> RunResult:
        """A result that holds only data, versions, seed, device and processes."""
        return RunResult(
            stages=(),
            classifier=None,
            data=replace(self.describe_data(), fingerprint=self.data.fingerprint()),
            versions=versions(),
            seed=self.seed,
            device=record.device,
            processes=record.processes,
        )

    def describe_data(self) -> DataFacts:
        """Describe the data set, with the number of examples in each split."""
        splits = self.data.splits(self.seed)
        return DataFacts(
            name=self.data.name,
            in_shape=tuple(self.data.in_shape),
            classes=self.data.num_classes,
            unlabelled=len(splits.unlabelled),
            labelled=0 if splits.train.y is None else len(splits.train),
            validation=len(splits.validation),
            test=len(splits.test),
            class_names=None if self.data.class_names is None else tuple(self.data.class_names),
            targets=self.data.num_targets,
        )


def _make_unused(out: Path) -> None:
    """Make the directory of a new run; a ConfigError if it holds a run already."""
    check_unused(out)
    if is_first_process():
        make_folder(out)


def close_finetuning(tuned: FineTuned, context: RunContext) -> None:
    """Save the learning curves of a trained head, and record its stage as finished."""
    folder = context.stage_folder(tuned.record.stage)
    assert folder is not None
    save_curves(tuned.record, folder)
    context.finish(tuned.record.stage)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that affect results."""
    names = ("lightning", "torchmetrics", "numpy", "scikit-learn")
    found = {name: importlib.metadata.version(name) for name in names}
    own = {"aepretrain": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    return {**own, **found}


@rank_zero_only
def _save(
    encoder: nn.Module,
    folder: Path,
    experiment: Experiment,
    results: RunResult,
    state: str,
    decoders: Sequence[tuple[nn.Module, Likelihood]] | None = None,
    errors: ValidationErrors | None = None,
) -> None:
    known = results.data.fingerprint
    provenance = {
        "weights": state,
        "variants": [stage.variant for stage in results.stages],
        "data set": results.data.name,
        "seed": results.seed,
        **({} if results.warm_start is None else {"began from the encoder with SHA-256": results.warm_start.sha256}),
        "data": {
            **to_plain(replace(results.data, fingerprint=None, class_names=None)),
            "sha256": known and known.digest,
        },
        "metrics": finite(_metrics(results)),
        "versions": to_plain(results.versions),
    }
    save_encoder(
        encoder,
        folder,
        in_shape=experiment.data.raw_shape,
        transform=experiment.data.transform,
        columns=experiment.data.columns,
        classes=experiment.data.class_names,
        preprocessing=experiment.data.preprocessing,
        provenance=provenance,
        decoders=decoders,
        validation_errors=errors,
    )


def _metrics(results: RunResult) -> dict[str, Any]:
    """The metrics saved with an encoder: those of the head that fine-tuned it, else those of its stages."""
    if (own := results.regressor) is not None:
        return {"validation R2": own.validation.r2, "test R2": own.test.r2, "test RMSE": own.test.rmse}
    if (found := results.classifier) is not None:
        return {"validation error": found.validation.error, "test error": found.test.error}
    return {
        stage.stage: {**to_plain(stage.losses), **stage.diagnostics, "epochs": stage.epochs} for stage in results.stages
    }


@torch.no_grad()
def _pattern_codes(stack: GreedyStack, x: Tensor) -> tuple[PatternCode, ...]:
    """The code of each one-hot pattern, and the pattern decoded from it."""
    codes = stack.encode(x)
    answers = stack.decode(codes).argmax(dim=1)
    return tuple(
        PatternCode(pattern=number, code=code, answer=answer, solved=answer == number)
        for number, (code, answer) in enumerate(zip(codes.tolist(), answers.tolist(), strict=True))
    )

"""The cells of a comparison: read from files if finished, else trained and tested once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aepretrain.compare.arms import ARMS, Arm
from aepretrain.compare.cell_config import cell_config, write_cell_config
from aepretrain.compare.cell_directories import SeedGroup, move_into, resume_or_create, seeds_together
from aepretrain.compare.data_record import WAY_OUT
from aepretrain.compare.ensembles import finetune_seeds, pretrain_seeds, reason_finetuning_not_batched
from aepretrain.compare.options import Cell, Comparison
from aepretrain.compare.reconstruction import Reconstructing
from aepretrain.compare.supervised import Classifying, Regressing
from aepretrain.compare.task import Task
from aepretrain.compare.workers import device_of_worker
from aepretrain.data import DataModule
from aepretrain.data.fingerprint import check_data
from aepretrain.ensembles.train import Vectorize
from aepretrain.errors import DivergedError, StorageError
from aepretrain.evaluation.baselines import BASELINES
from aepretrain.finetuning.finetune import FineTuned
from aepretrain.results.cell import CellResult
from aepretrain.results.fingerprint import Fingerprint
from aepretrain.results.records import read_record, shown
from aepretrain.results.row_values import RowValues
from aepretrain.results.run import RunResult
from aepretrain.results.stage import StageResult
from aepretrain.runs.directory import holds_files, note_steps
from aepretrain.runs.experiment import Experiment
from aepretrain.storage.files import make_folder, remove_folder, storing
from aepretrain.storage.guard import inside
from aepretrain.storage.json_files import AGAIN
from aepretrain.tracking.comparison import open_cell, open_pretraining
from aepretrain.tracking.options import Tracking
from aepretrain.training.recovery.run_state import STATE
from aepretrain.training.recovery.signals import run_interruptibly

YEAR = 366 * 24 * 3600
"""Maximum number of seconds that pretraining may have taken."""


@dataclass(frozen=True)
class Trial:
    """One combination of the settings in ``compare.grid``, with the experiments built from it.

    Args:
        experiment: The network under test.
        control: The control network; ``None`` if no arm needs it.
        settings: The combination, as in the column of hyperparameters.
    """

    experiment: Experiment
    control: Experiment | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """Runs cells, and holds what they share. It is sent to workers, which load the data again.

    Args:
        comparison: The comparison.
        trials: One per combination of settings.
        runs: The parent directory of the cells' run directories.
        tracking: Which loggers follow the comparison.
        data: What the data were when the comparison began; workers, which load them again, check theirs against it.
    """

    comparison: Comparison
    trials: Sequence[Trial]
    runs: Path
    tracking: Tracking = Tracking(loggers=())
    data: Fingerprint | None = None

    @property
    def _own_data(self) -> DataModule:
        return self.trials[0].experiment.data

    def _check_data(self) -> None:
        if self.data is not None:
            check_data(self._own_data, self.data, str(self.runs.parent), WAY_OUT)

    def finished(self, cell: Cell) -> CellResult | None:
        """The cell's row of ``results.csv``, or ``None`` if the cell has not finished."""
        path = self.folder(cell.name) / "row.json"
        if not path.is_file():
            return None
        row = CellResult.read(path)
        if (row.arm, row.seed, row.labels) != (cell.arm, cell.seed, cell.budget):
            raise StorageError(f"{path} is the row of another cell. {AGAIN}")
        if row.metric.name != self.task.metric:
            raise StorageError(
                f"{path} holds the {row.metric.word} of a network that was trained for something else, but "
                f"this comparison is of {self.task.metric}. Name a new folder."
            )
        return row

    def folder(self, name: str) -> Path:
        """The run directory of a cell or a pretraining.

        Raises:
            StorageError: If it, or the folder that holds all of them, is a link.
        """
        return inside(self.runs.parent, self.runs.name, name)

    def network(self, arm: Arm, cell: Cell, trial: Trial) -> Experiment:
        """The experiment of an arm: its network with the cell's seed and label budget."""
        experiment = trial.control if arm.control else trial.experiment
        assert experiment is not None
        own = replace(
            experiment,
            data=self._data(cell.seed).with_labels(cell.labels),
            seed=cell.seed,
            trainer=device_of_worker(experiment.trainer),
            checkpoint=replace(experiment.checkpoint, keep_last=False),
        )
        return self.task.of_arm(own, arm)

    @property
    def task(self) -> Task:
        """What the arms are trained for."""
        return task_of(self.trials[0].experiment)

    @property
    def tunes_every_seed(self) -> bool:
        """Whether every seed chooses its own settings: the validation data of one seed test another."""
        return len(self.trials) > 1 and self.comparison.splits == "per-seed"

    def _data(self, seed: int) -> DataModule:
        return self._own_data.with_split(seed) if self.comparison.splits == "per-seed" else self._own_data

    def run(self, cell: Cell, tuned: FineTuned | None = None) -> CellResult:
        """Run a cell, unless it finished before.

        Args:
            cell: The cell.
            tuned: The result of fine-tuning, if that is done already.

        Returns:
            The cell's row of ``results.csv``.

        Raises:
            DivergedError: If no combination of settings could be trained.
        """
        if (row := self.finished(cell)) is not None:
            return row
        folder = self.folder(cell.name)
        if cell.arm in BASELINES:
            make_folder(folder)
            experiment = self.network(Arm(), cell, self.trials[0])
            tested = run_interruptibly(lambda: self.task.baseline(experiment, cell.arm), f"in {cell.name}")
            if tested.rows is not None:
                tested.rows.write(folder)
            row = CellResult(cell.arm, cell.seed, cell.budget, **tested.row)
        else:
            row = self._train(cell, folder, tuned)
        replace(row, data=self._own_data.fingerprint().digest).write(folder / "row.json")
        return CellResult.read(folder / "row.json")

    def row_values(self, row: CellResult) -> RowValues | None:
        """The values of single test examples of a cell; ``None`` if its metric does not need them.

        Raises:
            StorageError: If they are missing or damaged.
        """
        if self.task.rows is None:
            return None
        folder = self.folder(Cell(row.arm, row.seed, None if row.labels == "all" else row.labels).name)
        if (found := self.task.rows.read(folder)) is None:
            raise StorageError(f"{folder} lacks {self.task.rows.words}. {AGAIN}")
        return found

    def pretrain(self, seed: int, *, control: bool) -> Path:
        """The encoder folder of a seed, pretrained on first use; label budgets, arms and trials share it."""
        folder = self.pretraining_folder(seed, control=control)
        if not self.is_pretrained(seed, control):
            resume = resume_or_create(folder)
            cell = Cell("pretrained", seed, None)
            experiment = self.task.layers_alone(self.network(Arm(control=control), cell, self.trials[0]))
            with open_pretraining(self.tracking, folder, seed) as run:
                stack, results = experiment.pretrain_stack(folder, resume=resume, run=run)
                if resume and self._was_together(seed, control):
                    run.replay()
                run.log_outcome(results, encoder=folder / "encoder")
            arm = Arm(control=control, pretrained=True)
            self._write_config(folder, cell, arm, {}, self.task.settings(experiment, arm))
            note_steps(folder, stack.records)
            results.write(folder / "results.json")
        return folder / "encoder"

    def pretrain_many(self, seeds: Sequence[int], *, control: bool, vectorize: Vectorize) -> bool:
        """Pretrain several seeds together, if ``vectorize`` allows.

        Seeds trained together save no checkpoints: after an interruption they start again together, with bitwise equal
        results. If a seed was started alone before, all seeds are trained one by one.

        Returns:
            Whether the seeds were pretrained here.
        """
        folders = [self.pretraining_folder(seed, control=control) for seed in seeds]
        cells = [Cell("pretrained", seed, None) for seed in seeds]
        with seeds_together(self._pretraining_group(control), seeds, folders) as started:
            if not started:
                return False
            # A kill may come when the first seed is finished, which is then not run again.
            for cell, folder in zip(cells, folders, strict=True):
                self._write_config(folder, cell, Arm(control=control, pretrained=True), {})
            experiments = [self.network(Arm(control=control), cell, self.trials[0]) for cell in cells]
            return pretrain_seeds(experiments, folders, self.tracking, vectorize)

    def remove_groups(self) -> None:
        """Remove what seeds that were trained together leave if they are killed and go on one by one."""
        with storing(self.runs, 0):
            for path in self.runs.glob("together*.json*"):
                path.unlink(missing_ok=True)

    def _pretraining_group(self, control: bool) -> Path:
        return self.runs / f"together{'-control' if control else ''}.json"

    def _was_together(self, seed: int, control: bool) -> bool:
        """Whether a seed was trained together with others, so that no logger has followed it yet."""
        group = self._pretraining_group(control)
        return group.is_file() and seed in read_record(SeedGroup, group).seeds

    def reason_not_batched(self, cells: Sequence[Cell], vectorize: Vectorize) -> str | None:
        """The reason to run cells that differ only in their seeds one by one; ``None`` if :meth:`run_many` can.

        All combinations of settings are checked, because any of them may be chosen.

        Raises:
            ConfigError: If ``vectorize`` is ``on``, and the cells cannot be trained at once.
        """
        name = f"{cells[0].arm}, {cells[0].budget} labels"
        for trial in self.trials:
            experiments = [self.network(ARMS[cell.arm], cell, trial) for cell in cells]
            if (reason := reason_finetuning_not_batched(experiments, name, vectorize)) is not None:
                return reason
        return None

    def run_many(self, cells: Sequence[Cell]) -> list[tuple[Cell, CellResult]]:
        """Run cells that differ only in their seeds, with their classifiers trained together.

        No checkpoints are saved, as in :meth:`pretrain_many`. If the first seed chooses the settings, it must not be
        among the cells.

        Returns:
            The cells with their rows; empty if the cells have to run one by one.
        """
        seeds, folders = [cell.seed for cell in cells], [self.folder(cell.name) for cell in cells]
        arm, first = ARMS[cells[0].arm], cells[0]
        trial = self._candidates(first)[0]
        encoders = [self.pretrain(seed, control=arm.control) if arm.pretrained else None for seed in seeds]
        experiments = [self._experiment(cell, trial)[0] for cell in cells]
        if any(experiment.finetune != experiments[0].finetune for experiment in experiments):
            return []  # random-longer has another budget for each seed
        with seeds_together(self.runs / f"together-{first.arm}-{first.budget}.json", seeds, folders) as started:
            if not started:
                return []
            tuned = finetune_seeds(experiments, folders, encoders)
        return [(cell, self.run(cell, each)) for cell, each in zip(cells, tuned or (), strict=bool(tuned))]

    def is_pretrained(self, seed: int, control: bool) -> bool:
        """Whether pretraining of a seed has finished."""
        return (self.pretraining_folder(seed, control=control) / "results.json").is_file()

    def cell_job(self, cell: Cell) -> tuple[Cell, CellResult]:
        """Run a cell in a worker. The cell is returned too, because results arrive in any order."""
        self._check_data()
        return cell, self.run(cell)

    def pretrain_job(self, job: tuple[int, bool]) -> tuple[int, bool]:
        """Pretrain the stack of (seed, whether of the control network) in a worker."""
        self._check_data()
        self.pretrain(job[0], control=job[1])
        return job

    def name_of_pretraining(self, job: tuple[int, bool]) -> str:
        """The name of a pretraining job, which is that of its run directory."""
        return self.pretraining_folder(job[0], control=job[1]).name

    def pretraining_folder(self, seed: int, *, control: bool) -> Path:
        """The run directory for pretraining the stack of a seed."""
        return self.folder(f"pretraining{'-control' if control else ''}-seed{seed}")

    def _experiment(self, cell: Cell, trial: Trial) -> tuple[Experiment, dict[str, Any]]:
        """The experiment of a cell for one combination of settings, and the hyperparameters for its row."""
        arm = ARMS[cell.arm]
        experiment = self.network(arm, cell, trial)
        if not arm.longer:
            return experiment, dict(trial.settings)
        times = self._times_longer(cell, experiment)
        return self.task.lengthened(experiment, times), {**trial.settings, "budget": f"{times}x"}

    def _train(self, cell: Cell, folder: Path, done: FineTuned | None) -> CellResult:
        """Fine-tune with every candidate combination, and test the one that is best on validation data."""
        arm = ARMS[cell.arm]
        encoder_folder = self.pretrain(cell.seed, control=arm.control) if arm.pretrained else None
        pretrained = None if encoder_folder is None else encoder_folder.parent
        tried, trials = [], self._candidates(cell)
        if len(trials) > 1 and holds_files(folder) and [path.name for path in folder.iterdir()] != ["trials"]:
            remove_folder(folder, STATE)  # moving up the best trial was interrupted
        for number, trial in enumerate(trials):
            place = folder if len(trials) == 1 else inside(folder, "trials", str(number))
            resume = resume_or_create(place)
            experiment, settings = self._experiment(cell, trial)
            try:
                tuned = done or self.task.train(experiment, arm, place, pretrained, resume=resume)
            except DivergedError:
                if len(trials) == 1:
                    raise
                continue
            tried.append((tuned, experiment, place, settings))
        if not tried:
            raise DivergedError(f"{cell.name}: every combination of compare.grid diverged. Try lower learning rates.")
        tuned, experiment, place, settings = max(tried, key=lambda each: each[0].score)
        tested = self.task.test(experiment, tuned)
        if place != folder:
            move_into(place, folder)
        if tested.rows is not None:
            tested.rows.write(folder)
        assert tested.results is not None
        results = replace(tested.results, hyperparameters=settings)
        self._write_config(folder, cell, arm, settings, self.task.settings(experiment, arm))
        note_steps(folder, [tuned.record])
        results.write(folder / "results.json")
        with open_cell(
            self.tracking, folder, arm=cell.arm, seed=cell.seed, labels=cell.labels, encoder=encoder_folder
        ) as run:
            run.replay()
            run.log_outcome(results)
        return CellResult(cell.arm, cell.seed, cell.budget, hyperparameters=settings, **tested.row)

    def _write_config(
        self,
        folder: Path,
        cell: Cell,
        arm: Arm,
        chosen: Mapping[str, Any],
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Write the config that trains a cell again: with the chosen settings, and more that make its arm."""
        if not self.tracking.config:  # a comparison started from Python has no config
            return
        own = {**{name: value for name, value in chosen.items() if name != "budget"}, **more}
        split_seed = self._data(cell.seed).split_seed if self.comparison.splits == "per-seed" else None
        config = cell_config(self.tracking.config, arm, cell.seed, cell.labels, own, split_seed=split_seed)
        write_cell_config(folder, f"{folder.name} of a comparison: {self.task.how_to_repeat(arm)}.", config)

    def _candidates(self, cell: Cell) -> Sequence[Trial]:
        """All combinations for the first seed, or for every seed; else the combination that the first seed chose."""
        if cell.seed == 0 or len(self.trials) == 1 or self.tunes_every_seed:
            return self.trials
        first = self.run(replace(cell, seed=0)).hyperparameters
        chosen = [each for each in self.trials if all(first.get(key) == value for key, value in each.settings.items())]
        if not chosen:
            path = self.folder(replace(cell, seed=0).name) / "row.json"
            raise StorageError(f"{path} names settings that compare.grid does not hold: {shown(first)}. {AGAIN}")
        return chosen

    def _times_longer(self, cell: Cell, experiment: Experiment) -> int:
        """Factor on the budget of ``random`` that adds the compute of pretraining, rounded up."""
        path = self.pretrain(cell.seed, control=False).parent / "results.json"
        stages = RunResult.read(path).stages
        _check_compute(stages, experiment, cell.seed, path)
        if self.comparison.longer_by == "steps":
            return 1 + math.ceil(sum(stage.steps for stage in stages) / self.task.steps(experiment))
        random = self.run(replace(cell, arm="random"))
        if not random.seconds or not random.epochs:
            row = self.folder(replace(cell, arm="random").name) / "row.json"
            raise StorageError(f"{row} lacks the seconds and epochs of a trained network. {AGAIN}")
        own_seconds = random.seconds / random.epochs * self.task.epochs(experiment)
        return 1 + math.ceil(sum(stage.seconds for stage in stages) / own_seconds)


def task_of(experiment: Experiment) -> Task:
    """What the arms of a comparison of an experiment are trained for."""
    if not experiment.has_classifier:
        return Reconstructing()
    return Classifying() if experiment.data.num_targets is None else Regressing()


def _check_compute(stages: Sequence[StageResult], experiment: Experiment, seed: int, path: Path) -> None:
    """Check that pretraining took no more steps than the config asks for, because random-longer takes as many.

    Raises:
        StorageError: If it took more, or no time that can be.
    """
    examples, count = len(experiment.data.splits(seed).unlabelled), len(experiment.layers)
    lengths = [experiment.pretrain.of_layer(k, count)[:2] for k in range(count)]
    lengths += [(experiment.pretrain.unroll, lengths[-1][1])]
    most = sum(epochs * math.ceil(examples / batch_size) for epochs, batch_size in lengths)
    steps, seconds = (sum(getattr(stage, name) for stage in stages) for name in ("steps", "seconds"))
    if steps > most or not 0 <= seconds <= YEAR:
        raise StorageError(
            f"{path} records {steps:,} steps of pretraining in {seconds:,.0f} seconds, but the config asks for at most "
            f"{most:,} steps. {AGAIN}"
        )

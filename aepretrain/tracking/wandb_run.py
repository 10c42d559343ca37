"""A run in Weights & Biases that neither stops the training nor exposes its secrets."""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.console import print_line
from aepretrain.errors import one_line
from aepretrain.results.head import HEADS
from aepretrain.storage.files import make_folder, write_atomically
from aepretrain.storage.guard import inside, is_link, open_regular, read_text
from aepretrain.storage.json_files import read_json
from aepretrain.tracking.options import WandbOptions
from aepretrain.tracking.redaction import redact, redact_strings, redact_text
from aepretrain.tracking.stage_logger import StageLogger
from aepretrain.tracking.wandb_environment import files_below, run_settings, wandb_folder
from aepretrain.tracking.wandb_mode import Mode
from aepretrain.tracking.wandb_report import build_report

SHORT = 300
"""Maximum number of characters of an error of W&B in a line."""
PNG = b"\x89PNG\r\n\x1a\n"
"""How a PNG file begins."""


def key_prefix(stage: str) -> str:
    """The key prefix of a stage. The head's is the same for all arms, so that their curves overlay.

    Example:
        >>> key_prefix("00-denoising"), key_prefix("classifier")
        ('00-denoising', 'finetune')
    """
    return "finetune" if stage in HEADS else stage


def artifact_name(group: str | None, name: str) -> str:
    """The artifact name of a run's encoder, reduced to characters that Weights & Biases accepts.

    Example:
        >>> artifact_name(None, "my run"), artifact_name("compare", "pretraining-seed0")
        ('encoder-my-run', 'encoder-compare-pretraining-seed0')
    """
    words = "-".join(redact_text(each) for each in ("encoder", group, name) if each)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", words)[:128]


class WandbRun:
    """A run in Weights & Biases. On an error, it prints a one-line warning and stops logging.

    After a server failure, later runs of this process are offline, so that none waits for the server again.

    Args:
        folder: The run directory; all files are written to ``wandb/`` below it, or below ``WANDB_DIR``.
        options: Project, entity and tags.
        mode: ``online`` or ``offline``; falls back to offline if the online start fails.
        name: The run's name.
        job_type: ``fit``, an arm, ``pretraining`` or ``summary``.
        group: Name of the run's group.
        tags: Tags in addition to those of the options.
        config: Settings; secrets are redacted here.
    """

    server_failed: ClassVar[bool] = False

    def __init__(
        self,
        folder: Path,
        options: WandbOptions,
        *,
        mode: Mode,
        name: str,
        job_type: str,
        group: str | None,
        tags: Sequence[str],
        config: Mapping[str, Any],
    ) -> None:
        self.folder = folder.absolute()
        self.files = wandb_folder(folder)
        self.own_id = os.environ.get("WANDB_RUN_ID") if job_type == "fit" else None
        self.encoder_name = artifact_name(group, folder.name)
        self.mode: Mode = mode
        self.run: Any = None
        self.sync_folder: Path | None = None
        self.stages: list[str] = []
        self.pictures: list[str] = []
        self.score = "error"
        about: dict[str, Any] = {
            "name": redact_text(name),
            "job_type": job_type,
            "group": redact_strings(group),
            "tags": list(dict.fromkeys(map(redact_text, [*options.tags, *tags]))),
            "config": redact(dict(config)),
            "dir": str(self.files.parent),
            "reinit": "create_new",
        }
        asked = mode == "online" and not WandbRun.server_failed
        if asked:
            self._start(about, options, otherwise="going on offline")
        if self.run is None:
            # After a failed start, the W&B process still holds the id: use a new one.
            self.mode = "offline"
            self._start(about, options, anew=asked, otherwise="going on without it")

    def _start(self, about: dict[str, Any], options: WandbOptions, *, anew: bool = False, otherwise: str) -> None:
        import wandb

        try:
            with files_below(self._own_folder()):
                make_folder(self.files)
                about = about | self._identity(options, anew=anew)
                self.run = wandb.init(**about, mode=self.mode, settings=wandb.Settings(**run_settings()))
            self.sync_folder = Path(self.run.settings.sync_dir)
        except Exception as error:
            self._note(error)
            print_line(f"warning: W&B did not start {self.mode} ({_brief(error)}); {otherwise}")

    def _own_folder(self) -> Path:
        """The folder of the files; in the run directory one to which no link leads."""
        return inside(self.folder, "wandb") if self.files.parent == self.folder else self.files

    def _identity(self, options: WandbOptions, *, anew: bool = False) -> dict[str, Any]:
        """Project, entity and the run's id: ``WANDB_RUN_ID``, or else that which is stored in this directory.

        Empty in a sweep, which sets them itself.
        """
        if os.environ.get("WANDB_SWEEP_ID"):
            return {}
        chosen = options.project != WandbOptions.project
        project = options.project if chosen else os.environ.get("WANDB_PROJECT", options.project)
        known = inside(self.folder, "wandb", "run-id.txt")
        own = None if anew else self.own_id
        name = own or ("" if anew or not known.is_file() else read_text(known, 1000))
        if own or not re.fullmatch(r"[\w-]+", name):
            name = own or secrets.token_hex(4)
            make_folder(known.parent)
            write_atomically(known, name.encode())
        return {"project": project, "entity": options.entity, "id": name, "resume": "allow"}

    def attempt(self, act: Callable[[Any], Any]) -> None:
        """Call a function with the run, if it is still active; on an error, warn and stop logging."""
        if self.run is None:
            return
        try:
            with files_below(self._own_folder()):
                act(self.run)
        except Exception as error:
            self.run = None
            self._note(error)
            print_line(
                f"warning: W&B failed ({_brief(error)}); going on without it. What it has lies in {self.sync_folder}"
            )
            if isinstance(error, ConnectionError):
                _drop_dead_process()

    def _note(self, error: Exception) -> None:
        """Remember a server failure; a ConnectionError concerns the local W&B process, which is replaced."""
        if self.mode == "online" and not isinstance(error, ConnectionError):
            WandbRun.server_failed = True

    def start_stage(self, stage: str) -> None:
        """Give a stage its own step axis."""
        prefix = key_prefix(stage)
        self.stages.append(prefix)
        self.attempt(lambda run: run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/step"))

    def log(self, figures: Mapping[str, Any]) -> None:
        """Add a row to the run's history."""
        self.attempt(lambda run: run.log(dict(figures)))

    def summarize(self, figures: Mapping[str, Any]) -> None:
        """Set values in the run's summary."""
        if "test/r2" in figures or figures.get("metric") == "r2":
            self.score = "r2"
        elif "test/squared_error" in figures or figures.get("metric") == "squared_error":
            self.score = "squared_error"
        self.attempt(lambda run: run.summary.update(dict(figures)))

    def log_pictures(self, pictures: Mapping[str, Path]) -> None:
        """Add PNG files, by key, as one row of the history."""

        def act(run: Any) -> None:
            import wandb

            run.log({key: wandb.Image(str(path)) for key, path in pictures.items()})

        pictures = {key: path for key, path in pictures.items() if _is_png(path)}
        if pictures:
            self.pictures += pictures
            self.attempt(act)

    def log_table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add a table to the run's history."""

        def act(run: Any) -> None:
            import wandb

            run.log({key: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

        self.attempt(act)

    def log_encoder(self, folder: Path) -> None:
        """Add an encoder's folder as an artifact of type ``model``, with its ``config.json`` as metadata."""

        def act(run: Any) -> None:
            import wandb

            metadata = read_json(folder / "config.json")
            artifact = wandb.Artifact(self.encoder_name, "model", metadata=metadata)
            for path in sorted(path for path in folder.iterdir() if not is_link(path) and path.is_file()):
                # Immutable files are uploaded in place, without a copy.
                artifact.add_file(str(path), policy="immutable", skip_cache=True)
            run.log_artifact(artifact)

        self.attempt(act)

    def publish_report(self) -> None:
        """Build a report on the server, if the run is online."""
        if self.mode != "online":
            print_line("W&B: no report, because the run is offline and reports are made on the server")
            return

        def act(run: Any) -> None:
            try:
                report = build_report(run, self.stages or ["finetune"], self.pictures, self.score)
                report.save()
            except Exception as error:  # the account may not allow reports; the run goes on
                print_line(f"warning: W&B made no report ({_brief(error)})")
            else:
                print_line(f"W&B: report {report.url}")

        self.attempt(act)

    def finish(self, exit_code: int = 0) -> None:
        """Close the run; data not uploaded within the finish timeout stay on disk for ``wandb sync``."""
        self.attempt(lambda run: run.finish(exit_code=exit_code))


class WandbMetrics(StageLogger):
    """Logger that adds a stage's scalars to a run, under the stage's own keys and step.

    Args:
        run: The run; ``None``: log nothing.
        stage: The stage.
    """

    def __init__(self, run: WandbRun | None, stage: str) -> None:
        super().__init__(stage)
        self.run = run
        if run is not None:
            run.start_stage(stage)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add one row: ``{stage}/{name}`` for every scalar, and ``{stage}/step``."""
        prefix = key_prefix(self.stage)
        if self.run is not None:
            self.run.log({**{f"{prefix}/{name}": value for name, value in metrics.items()}, f"{prefix}/step": step})


def _is_png(path: Path) -> bool:
    """Whether a picture is a PNG file of ours: W&B lets Pillow open it, which runs Ghostscript on an EPS file."""
    try:
        with open_regular(path) as file:
            return not is_link(path) and file.read(len(PNG)) == PNG
    except OSError:
        return False


def _drop_dead_process() -> None:
    """Discard a dead Weights & Biases process, so that the next run starts a new one."""
    import wandb

    # teardown() fails on a dead process too, but only after discarding it; then no error appears at exit.
    with contextlib.suppress(Exception):
        wandb.teardown()


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return one_line(f"{type(error).__name__}: {lines[0]}", SHORT) if lines else type(error).__name__

"""A report in Weights & Biases, with the panels of a run or of the group that it summarizes.

Tests build it with the real classes of ``wandb-workspaces`` and save it on a local test server. It has not been tested
against the real server.
"""

import warnings
from collections.abc import Sequence
from typing import Any

LOSSES = ("train/loss", "val/loss")


def build_report(run: Any, stages: Sequence[str], pictures: Sequence[str], score: str = "error") -> Any:
    """Build the report on the group of a run, or on the run alone if it has no group, without saving it.

    Args:
        run: A run in Weights & Biases, with ``entity``, ``project``, ``group``, ``name`` and ``id``.
        stages: Key prefixes of the curves.
        pictures: The keys of the pictures.
        score: What is measured: ``error`` of a head, ``r2`` of a real target, or ``squared_error`` of reconstructions.
    """
    with warnings.catch_warnings():
        # Its classes use a deprecated pydantic syntax.
        warnings.simplefilter("ignore", DeprecationWarning)
        import wandb_workspaces.reports.v2 as wr

    arm = wr.Config("arm") if run.group else None
    curve = "reconstruction" if score == "squared_error" else score
    panels: list[Any] = [
        wr.LinePlot(title=f"{stage}/{name}", x=f"{stage}/step", y=[f"{stage}/{name}"], groupby=arm)
        for stage in stages
        for name in (*LOSSES, f"val/{curve}")
    ]
    metrics: list[Any] = [wr.SummaryMetric(f"{split}/{score}") for split in ("validation", "test")]
    panels.append(wr.BarPlot(title=f"{score} by split", metrics=metrics, groupby=arm))
    if run.group:
        panels.append(wr.WeavePanelSummaryTable(table_name="results"))
    if pictures:
        panels.append(wr.MediaBrowser(title="pictures", media_keys=list(pictures)))
    runs = wr.Runset(
        entity=run.entity,
        project=run.project,
        filters=f"Metric('Group') == '{run.group}'" if run.group else f"Metric('ID') == '{run.id}'",
    )
    return wr.Report(
        entity=run.entity,
        project=run.project,
        title=run.group or run.name,
        blocks=[wr.PanelGrid(runsets=[runs], panels=panels)],
    )

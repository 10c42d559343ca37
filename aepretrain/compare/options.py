"""The options of a comparison, and its cells."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal

from aepretrain.compare.arms import ARMS
from aepretrain.data import DataModule
from aepretrain.errors import ConfigError
from aepretrain.evaluation.baselines import BASELINES, CLASSIFIERS, FOR_TABLES, RECONSTRUCTIONS, REGRESSIONS
from aepretrain.results.cell import Labels

ArmName = Literal["pretrained", "random", "probe", "random-longer", "control-pretrained", "control-random"]


@dataclass(frozen=True)
class Cell:
    """One arm or baseline, with one seed and one label budget.

    Example:
        >>> Cell("random", seed=3, labels=None).name
        'random-all-seed3'
    """

    arm: str
    seed: int
    labels: int | None

    @property
    def budget(self) -> Labels:
        """The label budget as in results."""
        return "all" if self.labels is None else self.labels

    @property
    def name(self) -> str:
        """The name of its run directory."""
        return f"{self.arm}-{self.budget}-seed{self.seed}"


@dataclass(frozen=True)
class Comparison:
    """The options of a comparison.

    Within a seed all arms share the splits, the labelled subset, the head's initial weights, the batch order, the noise
    and the budget of fine-tuning; only the encoder's weights differ. Pretraining runs once per seed.

    Args:
        arms: ``pretrained`` (pretrained, then fine-tuned), ``random`` (the same network, fine-tuned from its random
            initial weights), ``probe`` (the pretrained encoder is frozen and only the head trained), ``random-longer``
            (``random`` with the compute of pretraining added to its budget), and ``control-pretrained`` and
            ``control-random``, the first two with the network under ``control``. Without a head, with
            ``pretrain.unroll``, all layers are trained together to reconstruct the input in place of fine-tuning, and
            ``probe`` is the stack as its layers were pretrained.
        seeds: Number of seeds 0, 1, ...; a verdict needs at least 3. A list has one number per label budget.
        labels: Label budgets; ``null`` is all labels.
        baselines: Classifiers on the raw input: ``logistic``, ``knn``, ``svm``, ``boosting``; for a real target
            ``ridge``, ``knn``, ``boosting``, ``mean``; for reconstructions ``pca``, as many principal components as a
            code has values. ``null`` is all, but ``boosting`` for tables alone.
        grid: Settings to choose on validation data, such as ``{finetune.epochs: [20, 60]}``: every combination is
            tried once per arm and label budget, with the first seed alone if ``splits`` is ``fixed``. Only
            ``classifier.`` and ``finetune.`` settings, since pretraining is shared.
        splits: ``per-seed``: every seed divides the data anew into training, validation and test examples, so that
            intervals hold for more than one division. ``fixed``: one division for all. Data with splits of their own
            keep them.
        margin: Largest difference that still counts as none, in points of accuracy or R², or in % of the squared error
            and the nats of the second arm: an interval within plus and minus this says ``no difference seen``, a wider
            one around zero ``undecided``.
        longer_by: Unit of the compute added to ``random-longer``: the ``steps`` of pretraining, or its ``seconds``.

    Raises:
        ConfigError: If there is nothing to compare, or an arm, a baseline or a setting is not valid.

    Example:
        >>> len(list(Comparison(seeds=2, labels=[50, None], baselines=[]).cells()))
        12
    """

    arms: Sequence[ArmName] = ("pretrained", "random", "probe")
    seeds: int | list[int] = 5
    labels: Sequence[int | None] = (None,)
    baselines: Sequence[str] | None = None
    grid: Mapping[str, list[Any]] = field(default_factory=dict)
    longer_by: Literal["steps", "seconds"] = "steps"
    splits: Literal["per-seed", "fixed"] = "per-seed"
    margin: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 100:
            raise ConfigError(
                "compare.margin must be points of accuracy or R², or % of an error, from 0 to 100, but got "
                f"{self.margin}."
            )
        for name in ("arms", "labels"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                twice = [str(value) for value in dict.fromkeys(values) if list(values).count(value) > 1]
                reason = f"names {', '.join(twice)} twice. Leave one out" if twice else "is empty. Name one at least"
                raise ConfigError(f"compare.{name} {reason}.")
        if isinstance(self.seeds, list) and len(self.seeds) != len(self.labels):
            raise ConfigError(
                f"compare.seeds must be one number or one per label budget: {len(self.seeds)} numbers for "
                f"{len(self.labels)} budgets."
            )
        for count in self._seeds:
            if count < 1:
                raise ConfigError(f"compare.seeds must be >= 1, but got {count}. At least 3 are needed for an answer.")
        for arm in self.arms:
            if arm not in ARMS:
                raise ConfigError(f"compare.arms are {', '.join(ARMS)}, but got {arm!r}.")
        for name in self.baselines or ():
            if name not in BASELINES:
                raise ConfigError(f"compare.baselines are {', '.join(BASELINES)}, but got {name!r}.")
        for key, values in self.grid.items():
            if not key.startswith(("classifier.", "finetune.")):
                raise ConfigError(
                    f"compare.grid tries settings of classifier and finetune, but got {key!r}. Pretraining is shared "
                    "by all arms of a seed: compare its settings by comparisons of their own."
                )
            if not isinstance(values, list) or not values:
                raise ConfigError(f"compare.grid.{key} must be a list of values to try, but is {values!r}.")

    @property
    def _seeds(self) -> list[int]:
        return self.seeds if isinstance(self.seeds, list) else [self.seeds] * len(self.labels)

    @property
    def most_seeds(self) -> int:
        """The largest number of seeds of a label budget."""
        return max(self._seeds)

    @property
    def has_default_cells(self) -> bool:
        """Whether arms, seeds, budgets and grid are the defaults, as in a config that is not one of a comparison."""
        return not self.grid and list(self.cells()) == list(Comparison().cells())

    @property
    def has_control(self) -> bool:
        """Whether an arm needs the control network."""
        return any(ARMS[arm].control for arm in self.arms)

    def for_data(self, data: DataModule, *, reconstructs: bool = False) -> "Comparison":
        """The comparison with the defaults for the data: baselines, if none were named, and splits.

        Args:
            data: The data.
            reconstructs: Whether the networks are trained to reconstruct, without labels.

        Raises:
            ConfigError: If a named baseline is for something else, or reconstructions have label budgets or a grid.
        """
        own = replace(self, splits="fixed") if data.own_splits else self
        if not reconstructs:
            real = data.num_targets is not None
            return own._with_baselines(
                data, "a real target" if real else "classes", REGRESSIONS if real else CLASSIFIERS
            )
        if list(self.labels) != [None]:
            raise ConfigError(f"compare.labels must be [null] for reconstructions, but got {list(self.labels)}.")
        if self.grid:
            raise ConfigError(
                f"compare.grid tries settings of a head, but reconstructions have none: {', '.join(self.grid)}. Leave "
                "it out."
            )
        return own._with_baselines(data, "reconstructions", RECONSTRUCTIONS)

    def _with_baselines(self, data: DataModule, has: str, known: Collection[str]) -> "Comparison":
        """The comparison with default baselines, if none were named; a ConfigError if one is for something else."""
        for name in self.baselines or ():
            if name not in known:
                raise ConfigError(f"compare.baselines for {has} are {', '.join(known)}, but got {name!r}.")
        if self.baselines is not None:
            return self
        table = len(data.in_shape) == 1
        return replace(self, baselines=[name for name in known if table or name not in FOR_TABLES])

    def cells(self) -> Iterator[Cell]:
        """Every cell, seed by seed."""
        for seed in range(self.most_seeds):
            for labels, seeds in zip(self.labels, self._seeds, strict=True):
                if seed < seeds:
                    yield from (Cell(arm, seed, labels) for arm in (*self.arms, *(self.baselines or ())))

    def settings(self) -> list[dict[str, Any]]:
        """Every combination of the grid; one empty combination without a grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]

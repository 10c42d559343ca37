"""The reconstruction of a deep autoencoder, beside that of principal components."""

from dataclasses import dataclass

from aepretrain.results.records import absent, check_range

UNROLLED = "unrolled"
"""Name of the stage that trains all layers together."""


@dataclass(frozen=True)
class ReconstructionMeasurement:
    """How well examples come back from their codes.

    Args:
        squared_error: Mean over examples of the squared error summed over features, of inputs as the network sees them.
        nats: Mean over examples of the reconstruction loss of the first layer's likelihood.
        pca_squared_error: The squared error of as many principal components of the training examples.
        examples: Number of examples.
        pca_nats: The loss of these principal components by the same likelihood; ``None`` in files of earlier versions.

    Example:
        >>> ReconstructionMeasurement(squared_error=3.0, nats=65.1, pca_squared_error=13.9, examples=10_000).nats
        65.1
    """

    squared_error: float
    nats: float
    pca_squared_error: float
    examples: int
    pca_nats: float | None = absent()

    def __post_init__(self) -> None:
        check_range(self, "squared_error", "pca_squared_error")
        check_range(self, "examples", least=1)


@dataclass(frozen=True)
class ReconstructionResult:
    """The reconstruction of a stack that was trained as a whole: ``reconstruction`` in ``results.json``.

    Args:
        validation: On validation data.
        test: On test data, evaluated once.
        components: Values of a code, and principal components beside it.

    Example:
        >>> measured = ReconstructionMeasurement(squared_error=3.0, nats=65.1, pca_squared_error=13.9, examples=10_000)
        >>> ReconstructionResult(measured, measured, components=30).test.squared_error
        3.0
    """

    validation: ReconstructionMeasurement
    test: ReconstructionMeasurement
    components: int

    @property
    def summary(self) -> str:
        """A line for people."""
        nats = "" if self.test.pca_nats is None else f" ({self.test.pca_nats:.4g} nats)"
        return (
            f"reconstruction  squared error validation {self.validation.squared_error:.4g}  test "
            f"{self.test.squared_error:.4g} ({self.test.nats:.4g} nats)  PCA with {self.components} components "
            f"{self.test.pca_squared_error:.4g}{nats}"
        )

"""Settings that applications 3 and 4 share, known without loading TensorFlow."""

import dataclasses
import math

from flow_models.core.errors import UserError
from flow_models.runs.config import RunConfig


@dataclasses.dataclass(frozen=True)
class ClassConfig(RunConfig):
    """Settings of a generative classifier."""

    form: str = "mixture"
    """mixture (a learned Gaussian a class as the base), conditional (the class in every layer) or
    joint (class among the outputs)"""
    compare: bool = False
    """train the other two forms too, for the table"""
    beta: float | None = None
    """weight of -log p(y | x) beside -log p(x); 1 is maximum likelihood; null: by the data"""
    sigma_y: float = 0.1
    """joint: width of the density of the label around its one-hot vector"""
    labelled: int = 0
    """training rows that keep their label; 0: all"""
    unknown: str = ""
    """a class left out of training, to see it flagged"""
    label_study: bool = False
    """train again with few to many labels: accuracy by number of labels"""
    beta_study: bool = False
    """train again with small to large beta: accuracy against likelihood"""

    def check(self) -> None:
        """Refuses settings that some form would refuse only after the training of another."""
        refuse(
            (not 0 < self.sigma_y < math.inf, f"sigma_y is {self.sigma_y}; it must be above 0"),
            (
                self.beta is not None and not 0 <= self.beta < math.inf,
                f"beta is {self.beta}, must be at least 0",
            ),
            (self.labelled < 0, f"labelled is {self.labelled}, must be at least 0"),
        )


def refuse(*wrong: tuple[bool, str]) -> None:
    """Raises UserError with the message of the first that is wrong."""
    for is_wrong, message in wrong:
        if is_wrong:
            raise UserError(message)

"""`Head`: what stands on a base: its own head, which writes, or a new one that tags tokens.

Plain values, for tasks and models alike. Knows neither.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Head:
    """What a base's last layer says.

    Attributes:
        name: `generation` or `token_classification`.
        labels: what each output stands for, in their order; none where text is written.
    """

    name: str = "generation"
    labels: tuple[str, ...] = ()


#: The head that a language model comes with.
GENERATION: Final = Head()
#: A new head that says one label for each token.
TOKEN_CLASSIFICATION: Final = "token_classification"

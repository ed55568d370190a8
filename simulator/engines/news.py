"""What is told of cases while they run."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, kw_only=True)
class News:
    """Something that has happened to a case.

    Attributes:
        case: its id.
        kind: `begun`, a `round` is over, `finished` or `failed`.
        round: the number of that round; 0 elsewhere.
        error: why it failed; nothing elsewhere.
    """

    case: str
    kind: Literal["begun", "round", "finished", "failed"]
    round: int = 0
    error: str = ""


class Engine(Protocol):
    """Runs cases."""

    def run(self, cases: Sequence[str]) -> Generator[News]:
        """Run cases, given by their ids, and tell of them; every case ends finished or failed.

        Closing the iterator stops those that are at work; what they have done is kept for a resume.
        """

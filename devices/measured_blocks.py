"""Measured times of decoder blocks: they stand in for the formula of compute on devices that state them."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MeasuredBlock:
    """How long one block of a model took to train, by padded tokens of a batch.

    A block is known by its sizes, so that a table holds for every model that has such blocks.

    Attributes:
        hidden_size: d.
        num_linear_weights: weights of all matrices of the block, without biases and adapters.
        dtype: of the base model.
        num_tokens: padded tokens B x T of each measurement, rising.
        forward_s: one forward pass with its adapters, whatever it took: arithmetic, launches, framework.
        backward_s: one backward pass.
    """

    hidden_size: int
    num_linear_weights: int
    dtype: str
    num_tokens: tuple[int, ...]
    forward_s: tuple[float, ...]
    backward_s: tuple[float, ...]

    @property
    def most_tokens(self) -> int:
        """Return the largest batch that was measured; nothing is said of larger ones."""
        return self.num_tokens[-1]

    @property
    def sizes(self) -> str:
        """Return in a few words of which blocks the times are."""
        return f"hidden_size {self.hidden_size}, linear_weights {self.num_linear_weights}, {self.dtype}"

    def __str__(self) -> str:
        """Return in a few words what was measured."""
        return f"{self.sizes}: {self.num_tokens[0]} to {self.most_tokens} tokens"

    def forward(self, num_tokens: int) -> float:
        """Return the seconds of a forward pass; see `backward` for what lies between measurements."""
        return self._between(self.forward_s, num_tokens)

    def backward(self, num_tokens: int) -> float:
        """Return the seconds of a backward pass.

        Between two measurements the time is linear in the tokens. Fewer tokens than were ever measured take as long as
        the fewest did: launches and the reading of weights, which bound small batches, do not shrink with them.

        Raises:
            ValueError: more tokens than were measured. Whoever uses a table has to look at `most_tokens` before.
        """
        return self._between(self.backward_s, num_tokens)

    def _between(self, seconds: Sequence[float], num_tokens: int) -> float:
        if num_tokens > self.most_tokens:
            raise ValueError(f"{num_tokens} tokens were not measured; at most {self.most_tokens} were")
        place = bisect_right(self.num_tokens, num_tokens)
        if place == 0:
            return seconds[0]
        if place == len(self.num_tokens):
            return seconds[-1]
        fewer, more = self.num_tokens[place - 1], self.num_tokens[place]
        part = (num_tokens - fewer) / (more - fewer)
        return seconds[place - 1] + part * (seconds[place] - seconds[place - 1])

"""What adapters cost between rounds: on their way down and up, on the server that makes one of many, on the clients.

Pure arithmetic on base units. What each rule of aggregation asks for stands here and in `workloads.aggregators`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devices.profiles import DeviceProfile
from simulator.costs.seconds import compute_s, memory_s
from workloads.aggregators import LEAVE_DELTA, TWO_PASSES
from workloads.blocks import Linear
from workloads.counts import ADAPTER_BYTES, WEIGHT_BYTES, Part, adapter_bytes, received_bytes

StackedRanks = tuple[int, ...]
"""For each block the rows of all clients together that the last aggregation left to the base model; () for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundCosts:
    """What a client exchanges once a round, besides its steps.

    Attributes:
        adapter_download_bytes: the global adapter of its own part, float32, the rows that it holds; after a rule that
            leaves something to the base model, also the factors of all clients for its own blocks.
        adapter_upload_bytes: what it has trained of the adapter of its own part, float32.
        client_merge_s: multiplying those factors into its own base weights; 0 where there are none.
    """

    adapter_download_bytes: int
    adapter_upload_bytes: int
    client_merge_s: float = 0.0


class Exchange:
    """The costs of one rule of aggregation.

    Args:
        aggregator: the rule.
        whole: the model in one part.
        parts: for a cut, the client's part and the server's.
        dtype: of the base model.
        server: the device that aggregates.
    """

    def __init__(
        self,
        aggregator: str,
        *,
        whole: Part,
        parts: Callable[[int], tuple[Part, Part]],
        dtype: str,
        server: DeviceProfile,
    ) -> None:
        self._aggregator, self._whole, self._parts = aggregator, whole, parts
        self._dtype, self._server = dtype, server

    def stacked_ranks(self, cuts: Sequence[int]) -> StackedRanks:
        """Return what the aggregation of clients with these cuts leaves to the base model."""
        return self._trained_rows(cuts) if cuts and self._aggregator in LEAVE_DELTA else ()

    def round(self, device: DeviceProfile, cut: int, stacked: StackedRanks) -> RoundCosts:
        """Return what a client exchanges after an aggregation that left `stacked`.

        Of an A that nobody trains nothing is sent, because it follows from the seed.
        """
        part, _ = self._parts(cut)
        return RoundCosts(
            adapter_download_bytes=received_bytes(part) + _factor_bytes(part, stacked),
            adapter_upload_bytes=adapter_bytes(part),
            client_merge_s=self._merge_s(part, stacked, device),
        )

    def aggregate_s(self, cuts: Sequence[int]) -> float:
        """Return how long the server takes to make one adapter of those of clients with these cuts.

        It reads every client's whole adapter, client part and server part, and writes one; a rule that weighs by norms
        reads twice. What a rule leaves to the base model is multiplied into the server's own, as on clients.
        """
        if not cuts:
            return 0.0
        read = sum(num * sum(map(adapter_bytes, self._parts(cut))) for cut, num in Counter(cuts).items())
        read *= 2 if self._aggregator in TWO_PASSES else 1
        seconds = memory_s(read + adapter_bytes(self._whole), self._server)
        if self._aggregator == "flexlora":
            seconds += self._svd_s(self._trained_rows(cuts))
        return seconds + self._merge_s(self._whole, self.stacked_ranks(cuts), self._server)

    def _trained_rows(self, cuts: Sequence[int]) -> StackedRanks:
        totals = [0] * len(self._whole.blocks)
        for cut, num in Counter(cuts).items():
            client, server = self._parts(cut)
            for block, rank in enumerate(client.ranks + server.ranks):
                totals[block] += num * rank
        return tuple(totals)

    def _merge_s(self, part: Part, stacked: StackedRanks, device: DeviceProfile) -> float:
        """Return how long it takes to add B A to the weights of a part: m rows are 2 m FLOPs for each weight.

        The weights are read once, as for m tokens (`seconds.reached_frac`), and written back.
        """
        if not stacked:
            return 0.0
        num_weights = sum(linear.num_weights for linear in part.targets)
        blocks = [block for block in part.blocks if stacked[block]]
        written_s = memory_s(len(blocks) * num_weights * WEIGHT_BYTES[self._dtype], device)
        return written_s + sum(
            compute_s(2 * stacked[block] * num_weights, num_tokens=stacked[block], device=device, dtype=self._dtype)
            for block in blocks
        )

    def _svd_s(self, stacked: StackedRanks) -> float:
        return sum(
            compute_s(
                sum(_svd_flops(linear, rows, rank) for linear in self._whole.targets),
                num_tokens=rows,
                device=self._server,
                dtype=self._dtype,
            )
            for rows, rank in zip(stacked, self._whole.ranks, strict=True)
        )


def _factor_bytes(part: Part, stacked: StackedRanks) -> int:
    """Return the bytes of all clients' factors of a part's blocks."""
    if not stacked:
        return 0
    widths = sum(linear.d_in + linear.d_out for linear in part.targets)
    return ADAPTER_BYTES * widths * sum(stacked[block] for block in part.blocks)


def _svd_flops(linear: Linear, num_rows: int, rank: int) -> int:
    """Return the FLOPs of the truncated SVD of a product of factors with `num_rows` rows.

    Householder QR of d x m with k = min(d, m): 4 d m k - 2 (d + m) k² + 4/3 k³ for R and Q, here bounded by 4 d m k
    (Golub and Van Loan 2013, section 5.2.2); SVD of n x n with both sides 21 n³ (their figure 8.6.1).
    """
    m, out, into = num_rows, min(linear.d_out, num_rows), min(linear.d_in, num_rows)
    qr = 4 * m * (linear.d_out * out + linear.d_in * into)
    core = 2 * out * m * into + 21 * max(out, into) ** 3
    return qr + core + 2 * rank * (linear.d_out * out + linear.d_in * into)

"""What clients learn while their cuts move, against a reference that keeps all rows and all moments at full rank."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.workloads.cohort import FULL, LEARNING_RATE, Cohort, Job
from tests.workloads.reference import (
    BLOCKS,
    PEFT_WARNING,
    RANK,
    PeftLoop,
    random_batch,
    save_model,
    targets_of,
    whole_loss,
)
from tests.workloads.small_models import single_thread
from workloads.batches import Batch
from workloads.engine import State
from workloads.lora import block_of, is_a, rows
from workloads.models import ModelFiles
from workloads.ranks import Dormant, block_ranks

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

BETAS, EPS = (0.9, 0.999), 1e-8


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return save_model("llama", tmp_path_factory.mktemp("llama"))


class FullRankReference:
    """The whole model with one AdamW, written out, over all rows; a mask says which rows a step may change."""

    def __init__(self, files: ModelFiles, adapter: dict[str, Tensor], dormant: Dormant, weight_decay: float) -> None:
        self._loop = PeftLoop(files, adapter, FULL, targets_of("llama"))
        named = self._loop.model.named_parameters()
        self._slots = {name.replace(".default.", "."): p for name, p in named if p.requires_grad}
        self.values = {key: value.clone() for key, value in adapter.items()}
        self.first = {key: torch.zeros_like(value) for key, value in adapter.items()}
        self.second = {key: torch.zeros_like(value) for key, value in adapter.items()}
        self._dormant, self._weight_decay, self._num_steps = dormant, weight_decay, 0

    def run(self, batches: Sequence[Batch], ranks: Sequence[int]) -> list[float]:
        return [self._step(batch, ranks) for batch in batches]

    def _step(self, batch: Batch, ranks: Sequence[int]) -> float:
        trained = {key: own_rows(value, key, ranks) for key, value in self.values.items()}
        with torch.no_grad():
            for key, slot in self._slots.items():
                slot.copy_(self.values[key] if self._dormant == "frozen" else self.values[key] * trained[key])
                slot.grad = None
        loss = whole_loss(self._loop.model, batch)
        torch.autograd.backward(loss)
        self._num_steps += 1
        for key, mask in trained.items():
            gradient = self._slots[key].grad
            assert gradient is not None
            self._adamw(key, gradient, mask)
        return loss.item()

    def _adamw(self, key: str, gradient: Tensor, mask: Tensor) -> None:
        """One step of AdamW (Loshchilov & Hutter 2019, algorithm 2) where the mask is 1."""
        first = BETAS[0] * self.first[key] + (1 - BETAS[0]) * gradient
        second = BETAS[1] * self.second[key] + (1 - BETAS[1]) * gradient**2
        scale = (second / (1 - BETAS[1] ** self._num_steps)).sqrt() + EPS
        update = first / (1 - BETAS[0] ** self._num_steps) / scale
        value = self.values[key] * (1 - LEARNING_RATE * self._weight_decay) - LEARNING_RATE * update
        for mine, new in ((self.values, value), (self.first, first), (self.second, second)):
            mine[key] = torch.where(mask.bool(), new, mine[key])


def own_rows(value: Tensor, key: str, ranks: Sequence[int]) -> Tensor:
    """Return 1 in the rows of a parameter that a client trains and 0 in the others."""
    mask = torch.zeros_like(value)
    rows(mask, key, ranks[block_of(key)]).fill_(1)
    return mask


CUT_MOVES = st.lists(st.integers(1, BLOCKS - 1), min_size=1, max_size=5)


@pytest.mark.parametrize("dormant", ["excluded", "frozen"])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    cuts=CUT_MOVES,
    sides=st.sampled_from(["both", "client", "server"]),
    weight_decay=st.sampled_from([0.0, 0.1]),
)
def test_blocks_rows_and_moments_go_with_the_cut(
    llama: ModelFiles, dormant: Dormant, cuts: list[int], sides: str, weight_decay: float
) -> None:
    split = Cohort(llama, dormant=dormant, weight_decay=weight_decay)
    reference = FullRankReference(llama, start_where_b_counts(split), dormant, weight_decay)
    for number, cut in enumerate(cuts):
        ranks = block_ranks(BLOCKS, cut, RANK, 2, sides)
        batches = [random_batch(10 * number + step, num_samples=2, longest=8) for step in range(2)]
        [losses] = split.run_round({0: Job(batches=batches, cut=cut, ranks=ranks)})
        assert losses == pytest.approx(reference.run(batches, ranks), rel=1e-5)
    moments = split.state(split.trained[0]).moments
    assert moments is not None
    assert moments.num_steps == 2 * len(cuts)
    for key, expected in reference.values.items():
        torch.testing.assert_close(split.values[key], expected, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(moments.first[key], reference.first[key], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(moments.second[key], reference.second[key], rtol=2e-3, atol=1e-8)


def start_where_b_counts(split: Cohort) -> dict[str, Tensor]:
    """Exchange the first adapter for one whose dormant rows take part in the product, and return it."""
    draws = torch.Generator().manual_seed(0)
    adapter = {
        key: value if is_a(key) else 0.1 * torch.randn(value.shape, generator=draws)
        for key, value in split.values.items()
    }
    split.trainer._states[split.adapter] = State(adapter=adapter)
    return adapter


@pytest.mark.parametrize("dormant", ["excluded", "frozen"])
def test_dormant_rows_and_their_moments_rest(llama: ModelFiles, dormant: Dormant) -> None:
    split = Cohort(llama, dormant=dormant, weight_decay=0.1)
    start_where_b_counts(split)
    split.run_round({0: Job(batches=[random_batch(0)], cut=1)})
    before = split.state(split.trained[0])
    ranks = block_ranks(BLOCKS, 2, RANK, 2, "both")
    split.run_round({0: Job(batches=[random_batch(1)], cut=2, ranks=ranks)})
    after = split.state(split.trained[0])
    assert before.moments is not None
    assert after.moments is not None
    pairs: list[tuple[Any, Any]] = [
        (before.adapter, after.adapter),
        (before.moments.first, after.moments.first),
        (before.moments.second, after.moments.second),
    ]
    for old, new in pairs:
        for key in old:
            mask = own_rows(old[key], key, ranks).bool()
            assert torch.equal(new[key][~mask], old[key][~mask])
            assert (new[key][mask] != old[key][mask]).any()


def test_frozen_rows_are_computed_with_and_excluded_ones_are_not(llama: ModelFiles) -> None:
    ranks, batch = block_ranks(BLOCKS, 2, RANK, 2, "both"), random_batch(0)
    losses = {}
    for dormant in ("excluded", "frozen"):
        split = Cohort(llama, dormant=dormant)
        adapter = start_where_b_counts(split)
        [[losses[dormant]]] = split.run_round({0: Job(batches=[batch], cut=2, ranks=ranks)})
    whole = PeftLoop(llama, adapter, FULL, targets_of("llama"))
    small = PeftLoop(llama, adapter, ranks, targets_of("llama"))
    with torch.no_grad():
        assert losses["frozen"] == pytest.approx(whole_loss(whole.model, batch).item(), rel=1e-6)
        assert losses["excluded"] == pytest.approx(whole_loss(small.model, batch).item(), rel=1e-6)
    assert abs(losses["frozen"] - losses["excluded"]) > 1e-4


@pytest.mark.parametrize("dormant", ["excluded", "frozen"])
def test_frozen_rows_count_as_a_clients_own_where_products_are_averaged(llama: ModelFiles, dormant: Dormant) -> None:
    # fedavg pads rows that a client does not have with zeros; frozen rows it has, at the global value. Two clients, of
    # whom one trains 2 of 4 rows of the blocks at its cut.
    split = Cohort(llama, rule="fedavg", dormant=dormant)
    start = start_where_b_counts(split)
    ranks = block_ranks(BLOCKS, 2, RANK, 2, "both")
    split.run_round({0: Job(batches=[random_batch(0)], cut=2, ranks=ranks), 1: Job(batches=[random_batch(1)], cut=2)})
    other = split.state(split.trained[1]).adapter
    for key in (key for key in start if ranks[block_of(key)] < RANK):
        resting = rows(start[key], key, RANK, 2) if dormant == "frozen" else torch.zeros(1)
        expected = 0.5 * rows(other[key], key, RANK, 2) + 0.5 * resting
        torch.testing.assert_close(rows(split.values[key], key, RANK, 2), expected)


def test_only_trained_rows_are_clipped(llama: ModelFiles) -> None:
    # AdamW takes steps of lr · g / eps where eps is far above all gradients: a part changes by the clipped norm, which
    # gradients of frozen rows must not use up.
    eps, norm = 1e3, 1e-4
    split = Cohort(llama, dormant="frozen", eps=eps, max_grad_norm=norm, learning_rate=1e5)
    start = start_where_b_counts(split)
    split.run_round({0: Job(batches=[random_batch(0)], cut=1, ranks=block_ranks(BLOCKS, 1, RANK, 2, "both"))})
    changes = [(split.values[key] - start[key]).flatten() for key in start if block_of(key) == 0]
    assert torch.cat(changes).norm().item() == pytest.approx(1e5 * norm / eps, rel=1e-2)

"""Who is trained together."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.known_models import KNOWN_MODELS
from tests.workloads.test_tasks import RECIPE
from workloads.batches import Batch
from workloads.grouping import GROUP_BYTES, MAX_CPU_TOKENS, grouped, groups_of, max_group_tokens
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets
from workloads.tasks import TrainTask


def task(client: int, lengths: Sequence[int], *, num_samples: int = 2, adapter: str = "a") -> TrainTask:
    """Return the task of a client, with one step for each padded length."""
    batches = [np.full((num_samples, length), client, np.int32) for length in lengths]
    return TrainTask(
        recipe=RECIPE,
        adapter=adapter,
        moments=None,
        first_step=0,
        batches=tuple(
            Batch(ids=ids, labels=ids, lengths=np.full(num_samples, ids.shape[1], np.int32)) for ids in batches
        ),
        ranks=(16, 16),
        cut=1,
    )


def clients(tasks: Sequence[TrainTask]) -> list[int]:
    return [int(of_client.batches[0].ids[0, 0]) for of_client in tasks]


def groups(tasks: Sequence[TrainTask], max_tokens: int) -> list[list[int]]:
    return [clients(group) for group in groups_of(grouped(tasks, max_tokens))]


def test_clients_of_similar_lengths_come_together_up_to_the_bound() -> None:
    tasks = [task(c, [length]) for c, length in enumerate([10, 30, 11, 29, 12])]
    # Longest first: 30 and 29 are 2 · 2 · 30 = 120 tokens; 12, 11 and 10 are 3 · 2 · 12 = 72. A third one of 12 beside
    # the first two would make 180.
    assert groups(tasks, 120) == [[0, 2, 4], [1, 3]]
    assert groups(tasks, 10**6) == [[0, 1, 2, 3, 4]]


def test_the_largest_step_of_a_group_counts() -> None:
    # Padded to the longest in each step: 2 clients · 2 samples · 9 tokens in both steps.
    tasks = [task(0, [9, 3]), task(1, [4, 9])]
    assert groups(tasks, 36) == [[0, 1]]
    assert groups(tasks, 35) == [[0], [1]]


def test_only_tasks_of_one_form_come_together() -> None:
    tasks = [
        task(0, [5, 5]),
        task(1, [5]),
        task(2, [5, 5], num_samples=3),
        task(3, [5, 5], adapter="other"),
        task(4, [6, 6]),
    ]
    assert groups(tasks, 10**6) == [[0, 4], [1], [2], [3]]


def test_a_task_in_a_group_has_another_name_than_alone_and_a_task_alone_keeps_its_own() -> None:
    tasks = [task(c, [5]) for c in range(3)]
    together = grouped(tasks, 20)
    assert [one.key == other.key for one, other in zip(tasks, together, strict=True)] == [False, False, True]
    assert together[0].group == together[1].group
    assert grouped([tasks[0], tasks[2]], 20)[0].key not in {one.key for one in (*tasks, *together)}


def test_a_name_is_the_same_in_any_run_and_does_not_depend_on_other_groups() -> None:
    tasks = [task(c, [5]) for c in range(2)]
    beside = [task(2, [90]), *tasks]
    assert [t.key for t in grouped(tasks, 20)] == [t.key for t in grouped(beside, 20)[1:]]


def test_a_task_that_occurs_twice_is_trained_once() -> None:
    tasks = [task(0, [5]), task(1, [5]), task(0, [5])]
    together = grouped(tasks, 10**6)
    assert together[0].key == together[2].key
    assert groups(tasks, 10**6) == [[0, 1]]


@pytest.mark.parametrize("change", ["one is missing", "another order", "another batch"])
def test_a_group_that_is_not_whole_is_refused(change: str) -> None:
    together = grouped([task(c, [5]) for c in range(3)], 10**6)
    if change == "one is missing":
        together = together[:2]
    elif change == "another order":
        together = together[::-1]
    else:
        together[0] = dataclasses.replace(together[0], batches=task(7, [5]).batches)
    with pytest.raises(ValueError, match="has to be trained as a whole, in its order"):
        groups_of(together)


@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=2), min_size=1, max_size=12), st.integers(1, 400))
def test_everybody_is_in_one_group_and_no_group_is_too_large(lengths: list[list[int]], max_tokens: int) -> None:
    tasks = [task(c, of_client) for c, of_client in enumerate(lengths)]
    found = groups_of(grouped(tasks, max_tokens))
    assert sorted(c for group in found for c in clients(group)) == list(range(len(tasks)))
    for group in (group for group in found if len(group) > 1):
        widest = max(batch.length_tokens for member in group for batch in member.batches)
        steps = zip(*(member.batches for member in group), strict=True)
        assert max(2 * len(group) * max(b.length_tokens for b in step) for step in steps) <= max_tokens
        assert widest <= max_tokens


def bound(name: str, device: str, *, length_tokens: int = 128, batch_size: int = 4) -> int:
    shape = ModelShape.from_config(KNOWN_MODELS[name][0])
    lora = LoraSpec(targets=lora_targets(shape, "attention"), rank=16, cut_rank=8, cut_rank_sides="both")
    return max_group_tokens(
        shape, lora, dtype="float32", batch_size=batch_size, length_tokens=length_tokens, device=device
    )


def test_a_group_of_gpt2_on_a_gpu_takes_what_is_derived_by_hand() -> None:
    # A token of GPT-2 keeps 70,848 bytes in each of 12 blocks (see test_counts), less 3,080 for the first norm, whose
    # input carries no gradient, and 3,080 more in the last norm; its logits take 3 · 4 · 50,257. A client's adapter has
    # 12 · 16 · 4,608 values in six tensors.
    of_client = 512 * (12 * 70_848 + 12 * 50_257) + 6 * 4 * 12 * 16 * 4_608
    assert bound("gpt2", "cuda:0") == GROUP_BYTES["cuda"] * 512 // of_client


def test_a_processor_has_a_bound_of_its_own() -> None:
    assert bound("gpt2", "cpu") < MAX_CPU_TOKENS
    assert bound("gpt2", "cpu") < bound("gpt2", "cuda:1")

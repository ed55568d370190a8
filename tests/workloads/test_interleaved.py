"""Training with one server adapter for all clients, against plain PyTorch loops in the same order."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.workloads.reference import BLOCKS, PEFT_WARNING, RANK, PeftLoop, random_batch, save_model, whole_loss
from tests.workloads.small_models import single_thread
from tests.workloads.test_trainer import LEARNING_RATE, Rounds, recipe_for
from workloads.aggregators import RELAY
from workloads.batches import Batch
from workloads.engine import State
from workloads.interleaved_tasks import InterleavedTask, Order, interleave
from workloads.lora import block_of
from workloads.models import ModelFiles
from workloads.optimizer import Moments
from workloads.states import load_state
from workloads.tasks import AggregateTask, InitialTask, TrainResult, TrainTask
from workloads.trainer import TorchTrainer

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)

CUTS = (1, 3)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return save_model("llama", tmp_path_factory.mktemp("llama"))


def batches(client: int, number: int, num_steps: int = 2) -> tuple[Batch, ...]:
    return tuple(random_batch(100 * client + 10 * number + step) for step in range(num_steps))


class Shared:
    """Rounds of clients that share a server adapter, as `simulator.learning.interleaved` asks for them."""

    def __init__(self, files: ModelFiles, *, relayed: bool, cuts: Sequence[int] = CUTS, **changes: Any) -> None:
        rule = "sl" if relayed else "sfl-v2"
        self.recipe = recipe_for(files, learning_rule=rule, **changes)
        self.trainer = TorchTrainer(self.recipe, files, device="cpu")
        self.adapter = self.trainer.initial(InitialTask(recipe=self.recipe))
        self.relayed, self.cuts = relayed, cuts
        self.trained: dict[int, str] = {}
        self.server: str | None = None
        self.num_steps = dict.fromkeys(range(len(cuts)), 0)

    def tasks(self, number: int, order: Order, hands_in: Sequence[bool]) -> list[InterleavedTask]:
        own = [
            TrainTask(
                recipe=self.recipe,
                adapter=self.adapter,
                moments=self.trained.get(client),
                first_step=self.num_steps[client],
                batches=batches(client, number, sum(place == client for place, _ in order)),
                ranks=(RANK,) * BLOCKS,
                cut=cut,
            )
            for client, cut in enumerate(self.cuts)
        ]
        return interleave(own, hands_in=hands_in, order=order, relayed=self.relayed, server=self.server)

    def run(self, number: int, order: Order, hands_in: Sequence[bool] | None = None) -> list[TrainResult]:
        """Train all clients in an order, and make the next global adapter of those that hand in."""
        hands_in = hands_in or [True] * len(self.cuts)
        tasks = self.tasks(number, order, hands_in)
        results = self.trainer.train(tasks)
        last = results[order[-1][0]].key
        counting = [result.key for result, counts in zip(results, hands_in, strict=True) if counts]
        rule, updates = (RELAY, [last]) if self.relayed or not counting else ("segment", counting)
        self.adapter = self.trainer.aggregate(
            AggregateTask(
                recipe=self.recipe, rule=rule, base=self.adapter, updates=tuple(updates), weights=(1.0,) * len(updates)
            )
        )
        self.server = last
        for client, (result, counts) in enumerate(zip(results, hands_in, strict=True)):
            if counts:
                self.trained[client] = result.key
                self.num_steps[client] += len(tasks[client].batches)
        return results

    @property
    def values(self) -> Mapping[str, Tensor]:
        return self.trainer.state(self.adapter)


class Replay:
    """The same with PyTorch alone: whole models, one AdamW for each client's part and one for the server's blocks.

    AdamW is elementwise, so one optimizer for each parameter is the same and makes it plain which of them are stepped.
    """

    def __init__(self, files: ModelFiles, start: Mapping[str, Tensor], targets: Sequence[str], cuts: Sequence[int]):
        self.loop = PeftLoop(files, start, (RANK,) * BLOCKS, targets, lr=LEARNING_RATE)
        self.keys = list(start)
        self.cuts = cuts
        self.server = self._copies(start)
        self.clients = [self._copies(start) for _ in cuts]

    def _copies(self, values: Mapping[str, Tensor]) -> dict[str, tuple[nn.Parameter, torch.optim.AdamW]]:
        made = {key: nn.Parameter(value.clone()) for key, value in values.items()}
        return {
            key: (parameter, torch.optim.AdamW([parameter], lr=LEARNING_RATE, weight_decay=0.0))
            for key, parameter in made.items()
        }

    def step(self, client: int, batch: Batch) -> float:
        """Take one step of a client with its own blocks 1..cut and the server's others."""
        used = {
            key: (self.clients[client] if block_of(key) < self.cuts[client] else self.server)[key] for key in self.keys
        }
        for key, (parameter, _) in used.items():
            self.loop.model.get_submodule(f"{key.removesuffix('.weight')}.default").weight = parameter
        loss = whole_loss(self.loop.model, batch)
        torch.autograd.backward(loss)
        for _, optimizer in used.values():
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()

    def whole(self, client: int) -> dict[str, Tensor]:
        """Return a client's adapter with the server's part."""
        own = {key for key in self.keys if block_of(key) < self.cuts[client]}
        return {key: (self.clients[client] if key in own else self.server)[key][0].detach() for key in self.keys}

    def start_from(self, values: Mapping[str, Tensor], clients: Sequence[int], *, server: bool) -> None:
        """Let clients, and the server, go on from other values with the moments that they have."""
        for held in [*(self.clients[client] for client in clients), *([self.server] if server else [])]:
            for key, (parameter, _) in held.items():
                parameter.data = values[key].clone()


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(values, other[key]) for key, values in one.items())


ONE_BY_ONE: Order = ((0, 0), (0, 1), (1, 0), (1, 1))
MIXED: Order = ((1, 0), (0, 0), (0, 1), (1, 1))


def test_sl_with_one_client_is_ordinary_training_to_the_bit(llama: ModelFiles) -> None:
    shared, ordinary = Shared(llama, relayed=True, cuts=[2]), Rounds(llama)
    order = ((0, 0), (0, 1))
    loop = PeftLoop(llama, shared.values, (RANK,) * BLOCKS, shared.recipe.targets, lr=LEARNING_RATE, weight_decay=0.0)
    for number in (1, 2):
        losses = shared.run(number, order)[0].losses
        assert losses == ordinary.train(batches(0, number), cut=2)
        assert losses == loop.run(batches(0, number))
        assert equal(shared.values, ordinary.trainer.state(ordinary.adapter))
        assert equal(shared.values, loop.adapter)


def test_sl_hands_the_client_part_on_and_steps_one_server_part(llama: ModelFiles) -> None:
    shared = Shared(llama, relayed=True)
    replay = Replay(llama, shared.values, shared.recipe.targets, CUTS)
    for number in (1, 2):
        results = shared.run(number, ONE_BY_ONE)
        for client in (0, 1):
            losses = tuple(replay.step(client, batch) for batch in batches(client, number))
            assert results[client].losses == losses
            handed_on = replay.whole(client)
            replay.start_from(handed_on, [0, 1], server=True)
        assert equal(shared.values, handed_on)


def test_sfl_v2_is_a_sequential_replay_in_the_order_of_its_log(llama: ModelFiles) -> None:
    shared = Shared(llama, relayed=False)
    replay = Replay(llama, shared.values, shared.recipe.targets, CUTS)
    for number in (1, 2):
        results = shared.run(number, MIXED)
        losses: list[list[float]] = [[], []]
        for client, step in MIXED:
            losses[client].append(replay.step(client, batches(client, number)[step]))
        assert [list(result.losses) for result in results] == losses
        wholes = [replay.whole(client) for client in (0, 1)]
        # equal numbers of samples: the mean in double precision, as `segment` takes it
        mean = {key: ((wholes[0][key].double() + wholes[1][key].double()) / 2).to(torch.float32) for key in replay.keys}
        assert equal(shared.values, mean)
        replay.start_from(mean, [0, 1], server=True)


def test_another_order_teaches_something_else(llama: ModelFiles) -> None:
    one, other = Shared(llama, relayed=False), Shared(llama, relayed=False)
    one.run(1, MIXED)
    other.run(1, ONE_BY_ONE)
    assert one.adapter != other.adapter
    assert not equal(one.values, other.values)


@pytest.mark.parametrize("relayed", [True, False])
def test_of_a_client_that_does_not_hand_in_only_the_servers_steps_stay(llama: ModelFiles, *, relayed: bool) -> None:
    shared = Shared(llama, relayed=relayed)
    replay = Replay(llama, shared.values, shared.recipe.targets, CUTS)
    before = dict(shared.values)
    # client 0 (cut 1) goes after one step; client 1 (cut 3) does not see its client part
    order: Order = ((0, 0), (1, 0), (1, 1))
    shared.run(1, order, [False, True])
    replay.step(0, batches(0, 1, 1)[0])
    if relayed:  # client 1 gets blocks 2 and 3 as the server has left them, but block 1 as it was
        stepped = {key: parameter.detach() for key, (parameter, _) in replay.server.items()}
        replay.start_from(stepped, [1], server=False)
    for batch in batches(1, 1):
        replay.step(1, batch)
    expected = replay.whole(1)
    assert equal(shared.values, expected)
    assert 0 not in shared.trained
    changed = {block_of(key) for key in before if not torch.equal(before[key], shared.values[key])}
    assert changed == {0, 1, 2, 3}


def test_if_nobody_hands_in_the_servers_steps_are_what_is_left(llama: ModelFiles) -> None:
    shared = Shared(llama, relayed=False)
    before = dict(shared.values)
    shared.run(1, ((0, 0), (1, 0)), [False, False])
    changed = {block_of(key) for key in before if not torch.equal(before[key], shared.values[key])}
    assert changed == {1, 2, 3}  # block 0 is with clients alone


def test_the_key_of_a_member_holds_the_order_the_others_and_all_cuts(llama: ModelFiles) -> None:
    shared = Shared(llama, relayed=False)
    [first, _] = shared.tasks(1, MIXED, [True, True])
    [again, _] = shared.tasks(1, MIXED, [True, True])
    assert first.key == again.key
    others = [
        shared.tasks(1, ONE_BY_ONE, [True, True])[0],
        shared.tasks(1, MIXED, [True, False])[0],
        Shared(llama, relayed=False, cuts=(1, 2)).tasks(1, MIXED, [True, True])[0],
    ]
    assert len({first.key, *(task.key for task in others)}) == 4


def test_members_that_are_not_whole_or_in_another_order_are_refused(llama: ModelFiles) -> None:
    shared = Shared(llama, relayed=False)
    tasks = shared.tasks(1, MIXED, [True, True])
    with pytest.raises(ValueError, match="trained as a whole, in their order"):
        shared.trainer.train(tasks[1:])
    with pytest.raises(ValueError, match="every member needs its steps 0, 1"):
        shared.tasks(1, ((0, 1), (0, 0), (1, 0)), [True, True])
    with pytest.raises(ValueError, match="one member at a time"):
        Shared(llama, relayed=True).tasks(1, MIXED, [True, True])


def test_the_servers_moments_survive_being_kept(llama: ModelFiles) -> None:
    shared = Shared(llama, relayed=False)
    shared.run(1, MIXED)
    assert shared.server is not None
    again = load_state(State, shared.trainer.get(shared.server), torch.device("cpu"))
    assert isinstance(again.shared, Moments)
    assert again.shared.block_steps == (0, 2, 2, 4)  # blocks 2 and 3 are with client 1; its 2 steps skip them


def test_states_of_a_reset_optimizer_hold_no_moments(llama: ModelFiles) -> None:
    shared = Shared(llama, relayed=False, state="reset")
    results = shared.trainer.train(shared.tasks(1, MIXED, [True, True]))
    states = [load_state(State, shared.trainer.get(result.key), torch.device("cpu")) for result in results]
    assert [(state.moments, state.shared) for state in states] == [(None, None)] * 2


def test_the_recipe_of_a_shared_server_puts_the_cut_into_every_key(llama: ModelFiles) -> None:
    shared = Shared(llama, relayed=True)
    one, other = (dataclasses.replace(shared.tasks(1, ONE_BY_ONE, [True, True])[0], cut=cut) for cut in (1, 2))
    assert one.key != other.key

"""What crosses the cut while a run trains, weighed there, is what its spans have charged for."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

import splitft
from tests.small_run import small
from tests.workloads.reference import PEFT_WARNING, first_rows
from tests.workloads.small_models import single_thread
from workloads.engine import State
from workloads.lora import Adapter, block_of
from workloads.sequential import Sequential
from workloads.split import Reply, ServerPart, Upload
from workloads.tasks import TrainTask

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

NUM_CLIENTS = 3
POLICIES = {
    "each at another cut": {
        "kind": "per-device",
        "cuts": {"rpi5-8gb": 1, "jetson-orin-nano-8gb": 4, "rtx-3060-12gb": 7},
    },
    "cuts that move": {"kind": "splitft", "initial_cut": 3, "gamma_perf": 0.0},
}


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[int, str]]]:
    """Count the bytes of every tensor that goes from part to part, by client and kind, while something trains."""
    num_bytes: Counter[tuple[int, str]] = Counter()
    num_tasks, client = 0, -1
    step, train = ServerPart.step, Sequential._train

    def weighed_step(part: ServerPart, upload: Upload) -> Reply:
        reply = step(part, upload)
        num_bytes[client, "upload_activations"] += upload.activations.nbytes
        num_bytes[client, "upload_labels"] += upload.labels.nbytes + upload.lengths.nbytes
        num_bytes[client, "download_gradients"] += reply.gradients.nbytes
        return reply

    def weighed_train(executor: Sequential, task: TrainTask, states: Mapping[str, State], on_step: Any) -> Any:
        nonlocal num_tasks, client
        client, num_tasks = num_tasks % NUM_CLIENTS, num_tasks + 1  # a round's tasks are in the clients' order
        num_bytes[client, "download_adapter"] += held(states[task.adapter].adapter, task)
        state, result = train(executor, task, states, on_step)
        num_bytes[client, "upload_adapter"] += held(state.adapter, task)
        return state, result

    monkeypatch.setattr(ServerPart, "step", weighed_step)
    monkeypatch.setattr(Sequential, "_train", weighed_train)
    with single_thread():
        yield num_bytes


def held(adapter: Adapter, task: TrainTask) -> int:
    """Return the bytes of the rows that a client has of its own blocks."""
    return sum(
        torch.clone(first_rows(value, key, task.ranks[block_of(key)])).nbytes
        for key, value in adapter.items()
        if block_of(key) < task.cut
    )


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_what_crosses_the_cut_is_what_is_charged(policy: dict[str, Any], weighed: Counter[tuple[int, str]]) -> None:
    execution = {"memo": False, "executor": "sequential", "device": "cpu"}
    # That moments follow a block whose cut moves is not seen at the cut: here they stay uncharged.
    run = splitft.run(small(rounds=3, policy=policy, execution=execution, moves={"moments": "uncharged"}))

    assert len(set(run.clients["cut"])) >= NUM_CLIENTS
    spans = run.spans[run.spans.num_bytes > 0]
    charged = spans.groupby(["client", spans.kind.astype(str)]).num_bytes.sum().to_dict()
    assert charged == dict(weighed)
    assert len(charged) == NUM_CLIENTS * 5  # activations, labels with lengths, gradients, adapters down and up

"""What gradient checkpointing costs and saves: a forward pass more, and only the blocks' inputs kept."""

from dataclasses import replace

import numpy as np
import pytest

from simulator.costs.cost import ProfiledCosts
from simulator.costs.seconds import memory_s
from simulator.setting import resolve
from tests.simulator.costs.test_cost import (
    BATCH,
    CODING_BYTES,
    LAPTOP,
    LENGTH,
    LORA,
    PHONE,
    SERVER,
    SHAPE,
    profiled,
    seconds,
)
from tests.simulator.costs.test_memory import GPT2, model
from tests.small_run import SMALL, small
from workloads.codec_bytes import FP32
from workloads.counts import PLAIN_ATTENTION, client_part, forward_flops, recompute_flops, server_part


def recomputing() -> ProfiledCosts:
    return ProfiledCosts(
        shape=SHAPE,
        lora=LORA,
        dtype="float32",
        activation_codec=FP32,
        gradient_codec=FP32,
        device_table=(PHONE, LAPTOP),
        device_index=np.array([0, 1]),
        server=SERVER,
        checkpointing=True,
    )


def test_the_backward_pass_is_charged_with_one_more_forward_pass_of_the_blocks() -> None:
    step = recomputing().step(0, 1, BATCH, LENGTH)
    # As in test_cost: the client's block 4,080 backward and 3,840 forward; the server's two blocks 3,840 and 4,320
    # forward, 11,200 backward, and the head 800 each way, which is not computed again.
    backward_s = seconds(4_080 + 3_840, PHONE, forward=1, backward=1) + memory_s(CODING_BYTES, PHONE)
    assert step.client_backward_s == pytest.approx(backward_s, rel=1e-12)
    server_s = seconds(8_960 + 12_000 + 8_160, SERVER, forward=4, backward=2)
    assert step.server_step_s == pytest.approx(server_s + memory_s(2 * CODING_BYTES + 28 * 72, SERVER), rel=1e-12)


def test_what_does_not_go_backwards_costs_the_same() -> None:
    plain, again = profiled().step(0, 1, BATCH, LENGTH), recomputing().step(0, 1, BATCH, LENGTH)
    kept = {"client_backward_s": 0.0, "server_step_s": 0.0}
    assert replace(plain, **kept) == replace(again, **kept)
    assert profiled().validation(0, 1, BATCH, LENGTH) == recomputing().validation(0, 1, BATCH, LENGTH)


def test_recomputing_leaves_out_the_head() -> None:
    for part in (client_part(SHAPE, LORA, 2), server_part(SHAPE, LORA, 2)):
        head = 800 if part.has_head else 0
        forward = forward_flops(part, BATCH, LENGTH, PLAIN_ATTENTION)
        assert recompute_flops(part, BATCH, LENGTH, PLAIN_ATTENTION) == forward - head


def test_a_client_keeps_the_inputs_of_its_blocks_and_one_block_at_a_time() -> None:
    memory = replace(model(GPT2), checkpointing=True)
    tokens = 4 * 128
    # Inputs of five blocks, 768 wide; of the blocks the ranks are 16, 16, 16, 16, 8: the largest keeps 70,848 a token
    # (see test_counts).
    assert memory.client(5).activations_bytes == tokens * (5 * 4 * 768 + 70_848)
    assert replace(memory.client(5), activations_bytes=0) == replace(model(GPT2).client(5), activations_bytes=0)


def test_the_scenario_decides_for_costs_and_memory() -> None:
    on = resolve(small(workload={**SMALL["workload"], "gradient_checkpointing": True}))
    off = resolve(small())
    assert on.memory.client(4).activations_bytes < off.memory.client(4).activations_bytes
    assert on.costs.step(0, 2, 2, 32).client_backward_s > off.costs.step(0, 2, 2, 32).client_backward_s

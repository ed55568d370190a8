"""FLOPs against PyTorch's own counter of matrix products, family by family, equal to the FLOP."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.workloads.small_models import CONFIGS, add_adapters, build, run_client, run_server, single_thread
from workloads.counts import (
    AttentionKernel,
    adapter_parameters,
    backward_flops,
    base_parameters,
    client_part,
    forward_flops,
    server_part,
)
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets

pytestmark = pytest.mark.torch

BATCH, LENGTH, CUT = 3, 10, 2
EAGER = AttentionKernel()  # computes the whole T x T square and keeps the weights


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def client_flops(model: Any) -> tuple[int, int]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as forward:
        activations = run_client(model, CUT, BATCH, LENGTH)
    with FlopCounterMode(display=False) as backward:
        torch.autograd.backward(activations, torch.ones_like(activations))
    return forward.get_total_flops(), backward.get_total_flops()


def server_flops(model: Any) -> tuple[int, int]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    before_cut: list[int] = []
    with FlopCounterMode(display=False) as forward:
        received, logits = run_server(
            model, CUT, BATCH, LENGTH, started=lambda: before_cut.append(forward.get_total_flops())
        )
    with FlopCounterMode(display=False) as backward:
        torch.autograd.backward(logits.sum())
    assert received.grad is not None
    return forward.get_total_flops() - before_cut[0], backward.get_total_flops()


@pytest.mark.parametrize(("family", "targets"), list(itertools.product(CONFIGS, ["attention", "mlp", "all-linear"])))
def test_flops_and_parameters_of_both_parts_are_exact(family: str, targets: str) -> None:
    assert_exact(family, targets)


@pytest.mark.parametrize("roles", [("q", "v"), ("q",), ("k", "down"), ("v", "o"), ("o",)])
@pytest.mark.parametrize("family", ["opt", "gpt_neo", "llama", "gemma3_text"])
def test_flops_are_exact_where_some_factors_of_attention_carry_no_gradient(family: str, roles: tuple[str, ...]) -> None:
    linears = ModelShape.from_config(CONFIGS[family]).block.linears
    assert_exact(family, tuple(linear.name for linear in linears if linear.role in roles))


def assert_exact(family: str, targets: str | tuple[str, ...]) -> None:
    shape = ModelShape.from_config(CONFIGS[family])
    lora = LoraSpec(targets=lora_targets(shape, targets), rank=5, cut_rank=3, cut_rank_sides="both")
    base = build(CONFIGS[family], attention="eager")
    num_base_parameters = base.num_parameters()
    model = add_adapters(base, lora.targets, lora.block_ranks(shape.num_blocks, CUT))
    client, server = client_part(shape, lora, CUT), server_part(shape, lora, CUT)

    def expected(part: Any) -> tuple[int, int]:
        return forward_flops(part, BATCH, LENGTH, EAGER), backward_flops(part, BATCH, LENGTH, EAGER)

    assert client_flops(model) == expected(client)
    assert server_flops(model) == expected(server)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == adapter_parameters(client) + adapter_parameters(server)
    # The parts together hold the model; a tied matrix stands in both.
    shared = shape.num_head_weights if shape.has_tied_embeddings else 0
    assert base_parameters(client) + base_parameters(server) - shared == num_base_parameters

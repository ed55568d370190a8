"""Activation bytes against what autograd really saves, family by family, equal to the byte."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.workloads.small_models import (
    CONFIGS,
    Config,
    SavedTensors,
    add_adapters,
    build,
    run_client,
    run_server,
    set_base_dtype,
    single_thread,
)
from workloads.activations import activation_bytes
from workloads.blocks import Linear
from workloads.counts import client_part, server_part
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets

pytestmark = pytest.mark.torch

BATCH, CUT = 3, 2

# In a client's first block these leave factors of products without a gradient: k, gates, all of attention.
LONELY: Mapping[str, Callable[[Sequence[Linear]], list[Linear]]] = {
    "first and last": lambda linears: [linears[0], linears[-1]],
    "value alone": lambda linears: [linear for linear in linears if linear.role in ("v", "qkv")],
    "output alone": lambda linears: [linear for linear in linears if linear.role == "o"],
    "up alone": lambda linears: [linear for linear in linears if linear.role in ("up", "gate_up")],
    "down alone": lambda linears: [linear for linear in linears if linear.role == "down"],
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def lora_of(shape: ModelShape, targets: str) -> LoraSpec:
    names = [linear.name for linear in LONELY[targets](shape.block.linears)] if targets in LONELY else targets
    return LoraSpec(targets=lora_targets(shape, names), rank=5, cut_rank=3, cut_rank_sides="both")


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text"])
@pytest.mark.parametrize("targets", ["attention", "all-linear", "value alone"])
def test_saved_bytes_are_exact_with_frozen_rows_and_where_b_alone_is_trained(family: str, targets: str) -> None:
    import torch

    shape = ModelShape.from_config(CONFIGS[family])
    lora = replace(lora_of(shape, targets), dormant="frozen", trains_a=False)
    model = add_adapters(build(CONFIGS[family]), lora.targets, lora.held_ranks(shape.num_blocks, CUT))
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    for dtype in ("float32", "bfloat16"):
        set_base_dtype(model, getattr(torch, dtype))
        for name, parameter in model.named_parameters():
            if "lora_A" in name:
                parameter.data = parameter.data.float()
        client = activation_bytes(client_part(shape, lora, CUT), BATCH, 20, dtype)
        server = activation_bytes(server_part(shape, lora, CUT), BATCH, 20, dtype)
        assert client == saved_by_client(model, 20)
        assert server == saved_by_server(model, 20, getattr(torch, dtype))


def saved_by_client(model: Any, length_tokens: int) -> int:
    import torch

    saved = SavedTensors(model)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        run_client(model, CUT, BATCH, length_tokens)
    return saved.num_bytes


def saved_by_server(model: Any, length_tokens: int, dtype: Any) -> int:
    import torch

    saved = SavedTensors(model)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        run_server(model, CUT, BATCH, length_tokens, dtype=dtype, started=saved.forget)
    return saved.num_bytes


@pytest.mark.parametrize(
    ("family", "targets"), list(itertools.product(CONFIGS, ["attention", "mlp", "all-linear", *LONELY]))
)
def test_saved_bytes_of_both_parts_are_exact(family: str, targets: str) -> None:
    assert_exact(CONFIGS[family], targets)


@pytest.mark.parametrize("family", ["mistral", "qwen2", "phi3", "gemma3_text"])
@pytest.mark.parametrize("targets", ["attention", "all-linear"])
def test_saved_bytes_are_exact_where_all_heads_have_one_key(family: str, targets: str) -> None:
    even_rotary = {"partial_rotary_factor": 0.5} if family == "phi3" else {}
    assert_exact({**CONFIGS[family], "num_key_value_heads": 1, **even_rotary}, targets)


def assert_exact(config: Config, targets: str) -> None:
    import torch

    shape = ModelShape.from_config(config)
    lora = lora_of(shape, targets)
    model = add_adapters(build(config), lora.targets, lora.block_ranks(shape.num_blocks, CUT))
    for dtype in ("float32", "bfloat16"):
        set_base_dtype(model, getattr(torch, dtype))
        for length_tokens in (10, 16, 20):  # shorter than the attention windows of 16 tokens, as long, longer
            client = activation_bytes(client_part(shape, lora, CUT), BATCH, length_tokens, dtype)
            server = activation_bytes(server_part(shape, lora, CUT), BATCH, length_tokens, dtype)
            assert client == saved_by_client(model, length_tokens)
            assert server == saved_by_server(model, length_tokens, getattr(torch, dtype))

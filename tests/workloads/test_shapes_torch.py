"""Shapes read from a config.json against the models that transformers builds from it."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from tests.workloads.small_models import CONFIGS, blocks_of, build
from workloads.families import FAMILIES
from workloads.shapes import ModelShape, lora_targets

pytestmark = pytest.mark.torch

_SIZES: Mapping[str, list[int]] = {
    "d": [32, 48],
    "blocks": [1, 2, 5],
    "heads": [2, 4, 8],
    "mlp": [24, 40],
    "v": [90, 101],
}
_FLAGS = {
    "opt": ["enable_bias", "do_layer_norm_before", "layer_norm_elementwise_affine"],
    "gpt_neox": ["attention_bias", "use_parallel_residual"],
    "llama": ["attention_bias", "mlp_bias"],
    "qwen3": ["attention_bias", "use_sliding_window"],
    "qwen2": ["use_sliding_window"],
    "gemma3_text": ["attention_bias"],
}


def random_config(family: str, seed: int) -> dict[str, Any]:
    rng = random.Random(f"{family} {seed}")
    size = {key: rng.choice(values) for key, values in _SIZES.items()}
    config: dict[str, Any] = {
        "model_type": family, "vocab_size": size["v"], "hidden_size": size["d"], "num_hidden_layers": size["blocks"],
        "num_attention_heads": size["heads"], "intermediate_size": size["mlp"], "bos_token_id": 0, "eos_token_id": 0,
        "tie_word_embeddings": rng.random() < 0.5, "max_position_embeddings": rng.choice([16, 33]),
    }  # fmt: skip
    config |= {flag: rng.random() < 0.5 for flag in _FLAGS.get(family, [])}
    match family:
        case "gpt2":
            config |= {"n_inner": rng.choice([None, size["mlp"]])}
        case "opt":
            config |= {"ffn_dim": size["mlp"], "word_embed_proj_dim": rng.choice([None, 20])}
        case "gpt_neo":
            config |= {"attention_types": [[["local"], size["blocks"]]]}
        case "gpt_neox":
            pass
        case _:
            config |= {"num_key_value_heads": rng.choice([1, 2]), "pad_token_id": 0}
    if family in ("llama", "mistral", "qwen3", "gemma3_text"):
        config |= {"head_dim": rng.choice([6, 16])}
    return config


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_of_random_configs_equal_transformers(family: str) -> None:
    for seed in range(6):
        config = random_config(family, seed)
        assert ModelShape.from_config(config).num_parameters == build(config, meta=True).num_parameters(), config


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_keys_mean_what_transformers_takes_for_them(family: str) -> None:
    from transformers import AutoConfig

    shape = ModelShape.from_config({"model_type": family})
    assert shape == ModelShape.from_config(AutoConfig.for_model(family).to_dict())
    assert shape.num_parameters == build({"model_type": family}, meta=True).num_parameters()


@pytest.mark.parametrize("family", CONFIGS)
def test_linears_are_the_modules_of_every_block_by_name_and_size(family: str) -> None:
    shape = ModelShape.from_config(CONFIGS[family])
    path, blocks = blocks_of(model := build(CONFIGS[family], meta=True))
    for block in blocks:
        for linear in shape.block.linears:
            module: Any = block.get_submodule(linear.name)
            assert sorted(module.weight.shape) == sorted((linear.d_in, linear.d_out))
            assert (module.bias is not None) == linear.has_bias
        weights = sum(p.numel() for name, p in block.named_parameters() if p.dim() == 2 and "weight" in name)
        assert weights == shape.block.num_linear_weights
    names = [linear.name for linear in shape.block.linears]
    suffixes = [name for name, _ in model.named_modules() if any(name.endswith(f".{n}") for n in names)]
    assert len(suffixes) == len(names) * shape.num_blocks
    assert all(name.startswith(path) for name in suffixes)


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_adapts_the_targets_and_nothing_else(family: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    shape = ModelShape.from_config(CONFIGS[family])
    for word in ("attention", "mlp", "all-linear"):
        names = [linear.name for linear in lora_targets(shape, word)]
        model = build(CONFIGS[family])
        path, _ = blocks_of(model)
        inject_adapter_in_model(LoraConfig(target_modules=names, fan_in_fan_out=family == "gpt2"), model)
        adapted = {name for name, module in model.named_modules() if isinstance(module, LoraLayer)}
        assert adapted == {f"{path}.{block}.{name}" for block in range(shape.num_blocks) for name in names}

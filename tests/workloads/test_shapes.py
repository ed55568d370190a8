import json
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.small_models import CONFIGS
from workloads.config_json import ConfigError
from workloads.shapes import ModelShape, lora_targets

GPT2 = ModelShape.from_config({"model_type": "gpt2"})
LLAMA = ModelShape.from_config(CONFIGS["llama"])


def names(shape: ModelShape, targets: str | list[str]) -> list[str]:
    return [linear.name for linear in lora_targets(shape, targets)]


def test_a_folder_and_its_file_give_the_same_shape(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["llama"]))
    assert ModelShape.from_config(tmp_path) == ModelShape.from_config(tmp_path / "config.json") == LLAMA


def test_of_a_multimodal_gemma_3_the_text_part_is_taken() -> None:
    text = CONFIGS["gemma3_text"]
    whole = {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 1152}}
    assert ModelShape.from_config(whole) == ModelShape.from_config(text)


def test_sizes_are_read_under_the_names_of_gpt2() -> None:
    shape = ModelShape.from_config(CONFIGS["gpt2"])
    assert (shape.num_blocks, shape.hidden_size, shape.vocab_size, shape.max_positions) == (4, 32, 96, 64)
    assert (shape.block.num_heads, shape.block.head_dim, shape.block.intermediate_size) == (4, 8, 52)


@pytest.mark.parametrize(
    ("config", "windows"),
    [
        (CONFIGS["gpt_neo"], (None, 16, None, 16)),
        (CONFIGS["llama"], (None, None, None, None)),
        (CONFIGS["mistral"], (16, 16, 16, 16)),
        ({**CONFIGS["mistral"], "sliding_window": None}, (None, None, None, None)),
        (CONFIGS["qwen2"], (None, None, 16, 16)),  # from block max_window_layers = 2 on
        ({**CONFIGS["qwen2"], "use_sliding_window": False}, (None, None, None, None)),
        (CONFIGS["gemma3_text"], (16, None, 16, None)),  # every second block looks all the way back
        (
            {**CONFIGS["gemma3_text"], "layer_types": ["full_attention", *["sliding_attention"] * 3]},
            (None, 16, 16, 16),
        ),
    ],
)
def test_attention_windows_follow_the_pattern_of_the_family(config: dict[str, Any], windows: tuple[int, ...]) -> None:
    assert ModelShape.from_config(config).attention_windows == windows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "lama"},
            r"model_type: 'lama' is not supported; supported: gpt2, opt,.*; did you mean 'llama'\?",
        ),
        ({"model_type": None}, "model_type: None is not supported; supported: gpt2"),
        ({"hidden_size": "big"}, "hidden_size: expected a whole number above 0; got 'big'"),
        ({"hidden_size": True}, "hidden_size: expected a whole number above 0; got True"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: expected a whole number above 0; got 0"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: expected at most 10,000; got 1000000000"),
        ({"vocab_size": 10**400}, "vocab_size: expected at most 2,147,483,647; got 1000"),
        ({"num_attention_heads": 6}, r"num_attention_heads: must divide hidden_size \(32\); got 6"),
        ({"num_key_value_heads": 3}, r"num_key_value_heads: must divide num_attention_heads \(4\); got 3"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: expected true or false; got 'no'"),
        ({"hidden_act": "prelu"}, "hidden_act: supported: gelu, .*silu.*; got 'prelu'"),
    ],
)
def test_a_config_that_makes_no_sense_names_the_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelShape.from_config({**CONFIGS["llama"], **change})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**CONFIGS["gpt_neo"], "attention_types": [[["global"], 3]]}, r"as many types as blocks \(4\)"),
        ({**CONFIGS["gpt_neo"], "attention_types": [[["sparse"], 4]]}, "attention_types: expected a list such as"),
        ({**CONFIGS["gpt_neo"], "attention_types": [[["global"], 10**12]]}, r"as many types as blocks \(4\)"),
        ({**CONFIGS["gemma3_text"], "layer_types": ["full_attention"]}, "layer_types: expected a list of 4 words"),
        (
            {**CONFIGS["gemma3_text"], "layer_types": [["full_attention"]] * 4},
            "layer_types: expected a list of 4 words",
        ),
        ({**CONFIGS["qwen2"], "max_window_layers": -1}, "max_window_layers: expected a whole number"),
        ({**CONFIGS["gpt_neox"], "rotary_pct": 1.5}, "rotary_pct: expected a number above 0, at most 1"),
        ({**CONFIGS["gpt2"], "add_cross_attention": True}, "add_cross_attention: a decoder alone has none"),
        ({**CONFIGS["gemma3_text"], "use_bidirectional_attention": True}, "only causal models"),
    ],
)
def test_a_family_refuses_what_it_cannot_be(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelShape.from_config(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.json: is not JSON"),
        ('{"a":' + "[" * 100_000, "config.json: is not JSON"),
        ("[1]", "expected a mapping"),
        (None, "cannot be read"),
    ],
    ids=["cut off", "deep", "list", "absent"],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        ModelShape.from_config(tmp_path / "config.json")


def test_attention_targets_of_gpt2_spare_the_projection_of_the_mlp() -> None:
    assert names(GPT2, "attention") == ["attn.c_attn", "attn.c_proj"]
    assert names(GPT2, "mlp") == ["mlp.c_fc", "mlp.c_proj"]
    assert names(GPT2, ["c_proj"]) == ["attn.c_proj", "mlp.c_proj"]


@pytest.mark.parametrize(
    ("family", "attention"),
    [
        ("opt", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"]),
        ("gpt_neox", ["attention.query_key_value", "attention.dense"]),
        ("llama", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]),
        ("phi3", ["self_attn.qkv_proj", "self_attn.o_proj"]),
    ],
)
def test_attention_means_queries_keys_values_and_output(family: str, attention: list[str]) -> None:
    shape = ModelShape.from_config(CONFIGS[family])
    assert names(shape, "attention") == attention
    assert set(names(shape, "all-linear")) == {linear.name for linear in shape.block.linears}


def test_module_names_are_matched_as_peft_does_in_the_order_of_execution() -> None:
    assert names(LLAMA, ["v_proj", "q_proj"]) == ["self_attn.q_proj", "self_attn.v_proj"]
    assert names(LLAMA, ["mlp.down_proj", "down_proj"]) == ["mlp.down_proj"]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("atention", r"unknown word 'atention'; allowed: attention, mlp, all-linear, or.*did you mean 'attention'\?"),
        (["q_pro"], r"a block of llama has no module 'q_pro'; it has self_attn.q_proj,.*did you mean 'q_proj'\?"),
        (["proj"], "has no module 'proj'"),  # PEFT matches whole names only
        ([], "is empty"),
    ],
)
def test_unknown_targets_are_refused_with_what_is_allowed(targets: str | list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lora_targets(LLAMA, targets)

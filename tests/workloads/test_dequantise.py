"""A GGUF file becomes a plain model: every weight where it belongs, the tokenizer as its makers meant it."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from tests.workloads.tiny_gguf import HIDDEN, NUM_BLOCKS, NUM_HEADS, NUM_KEY_HEADS, random_weights, write_gguf
from workloads.dequantise import ConversionError, dequantise
from workloads.models import resolve_model
from workloads.shapes import ModelShape

pytestmark = pytest.mark.torch

NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Return (folder of the model, the values that the GGUF file stands for)."""
    folder = tmp_path_factory.mktemp("gguf")
    stored = write_gguf(folder / "model.gguf", random_weights())
    dequantise(folder / "model.gguf", folder / "model", pre_tokenizer="smollm")
    return folder / "model", stored


def rows_of_transformers(rows, num_heads):
    """Undo what llama.cpp does to rows of q and k: it interleaves the two halves that rotary positions pair up.

    Source: `LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py,
    reshape(heads, 2, head_dim / 2, columns).swapaxes(1, 2).
    """
    return rows.reshape(num_heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def test_every_weight_is_the_dequantised_one_under_its_name(converted):
    folder, stored = converted
    heads = {"attn_q": NUM_HEADS, "attn_k": NUM_KEY_HEADS}
    expected = {
        "model.embed_tokens.weight": stored["token_embd.weight"],
        "model.norm.weight": stored["output_norm.weight"],
    }
    for block in range(NUM_BLOCKS):
        for theirs, ours in NAMES.items():
            values = stored[f"blk.{block}.{theirs}.weight"]
            rows = rows_of_transformers(values, heads[theirs]) if theirs in heads else values
            expected[f"model.layers.{block}.{ours}.weight"] = rows
    written = load_file(folder / "model.safetensors")
    assert written.keys() == expected.keys()
    for name, values in expected.items():
        assert written[name].dtype == np.float32
        np.testing.assert_array_equal(written[name], values, err_msg=name)


def test_the_folder_is_a_model_that_can_be_run_and_priced(converted):
    folder, stored = converted
    files = resolve_model(str(folder))
    shape = ModelShape.from_config(files.config)
    assert shape.num_parameters == sum(values.size for values in stored.values())  # the head is the embedding
    assert (shape.num_blocks, shape.hidden_size, shape.has_tied_embeddings) == (NUM_BLOCKS, HIDDEN, True)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model(torch.arange(6)[None]).logits.isfinite().all()


def test_digits_are_single_tokens_and_any_text_comes_back(converted):
    tokenizer = Tokenizer.from_file(str(resolve_model(str(converted[0])).tokenizer_file))
    # "1 2" is a merge, but digits are split before merging; without that, the second space would join the first digit.
    assert tokenizer.encode("the  12").tokens == ["the", "ĠĠ", "1", "2"]
    text = "In 2024, the naïve café\n\tsaid 3.14 😀"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_a_file_without_one_of_its_weights_is_refused(tmp_path):
    weights = random_weights()
    del weights["blk.1.ffn_up.weight"]
    write_gguf(tmp_path / "model.gguf", weights)
    with pytest.raises(ConversionError, match=r"missing_keys.*model\.layers\.1\.mlp\.up_proj\.weight"):
        dequantise(tmp_path / "model.gguf", tmp_path / "model", pre_tokenizer="smollm")
    assert not (tmp_path / "model").exists()

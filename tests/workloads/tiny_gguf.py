"""A GGUF file small enough to make in a test: Llama with grouped queries, weights in Q4_1, a byte-level tokenizer."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
from tokenizers import pre_tokenizers

HIDDEN, FEED_FORWARD, NUM_BLOCKS, NUM_HEADS, NUM_KEY_HEADS = 64, 96, 2, 4, 2
MERGES = ("t h", "th e", "Ġ the", "Ġ Ġ", "1 2")
SPECIAL = "<|endoftext|>"


def vocabulary() -> list[str]:
    """Return one special token, every byte and every merge."""
    return [SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Return float32 tensors under the names and in the row order of llama.cpp."""
    rng, key_width = np.random.default_rng(seed), HIDDEN * NUM_KEY_HEADS // NUM_HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (len(vocabulary()), HIDDEN)}
    for block in range(NUM_BLOCKS):
        shapes |= {
            f"blk.{block}.attn_q.weight": (HIDDEN, HIDDEN),
            f"blk.{block}.attn_k.weight": (key_width, HIDDEN),
            f"blk.{block}.attn_v.weight": (key_width, HIDDEN),
            f"blk.{block}.attn_output.weight": (HIDDEN, HIDDEN),
            f"blk.{block}.ffn_gate.weight": (FEED_FORWARD, HIDDEN),
            f"blk.{block}.ffn_up.weight": (FEED_FORWARD, HIDDEN),
            f"blk.{block}.ffn_down.weight": (HIDDEN, FEED_FORWARD),
            f"blk.{block}.attn_norm.weight": (HIDDEN,),
            f"blk.{block}.ffn_norm.weight": (HIDDEN,),
        }
    shapes["output_norm.weight"] = (HIDDEN,)
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def write_gguf(path: Path, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Write a model with matrices in Q4_1 and vectors in float32; return the values that the file then stands for."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(NUM_BLOCKS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(NUM_HEADS)
    writer.add_head_count_kv(NUM_KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary()))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary())
    types = {SPECIAL: gguf.TokenType.CONTROL}
    writer.add_token_types([types.get(token, gguf.TokenType.NORMAL) for token in vocabulary()])
    writer.add_token_merges(list(MERGES))
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_unk_token_id):
        add(0)
    stored = {}
    for name, values in weights.items():
        if values.ndim == 1:
            writer.add_tensor(name, values)
            stored[name] = values
        else:
            packed = gguf.quantize(values, gguf.GGMLQuantizationType.Q4_1)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
            stored[name] = gguf.dequantize(packed, gguf.GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def write_wheel(folder: Path, package: str, files: Mapping[str, bytes]) -> Path:
    """Write a wheel of version 1.0 that pip accepts and that needs a package which exists nowhere."""
    stem = package.replace("-", "_")
    wheel = folder / f"{stem}-1.0-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: no-such-package-anywhere\n"
    about = {
        "METADATA": metadata,
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name, text in about.items():
            archive.writestr(f"{stem}-1.0.dist-info/{name}", text)
    return wheel

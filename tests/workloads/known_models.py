"""Well-known models: the config.json of each, shortened to what its family needs, and its published size.

Sizes are what the model cards and `safetensors` headers on the Hugging Face Hub state (a tied matrix counted once).
"""

from collections.abc import Mapping
from typing import Any

_GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024}
_OPT = {"model_type": "opt", "vocab_size": 50272, "max_position_embeddings": 2048}
_QWEN2 = {"model_type": "qwen2", "vocab_size": 151936, "use_sliding_window": False, "sliding_window": 32768}
_SMOL = {"model_type": "llama", "vocab_size": 49152, "tie_word_embeddings": True}
_LLAMA3 = {"model_type": "llama", "vocab_size": 128256, "tie_word_embeddings": True, "num_key_value_heads": 8}


def _sizes(d: int, blocks: int, heads: int, mlp: int | None = None, kv_heads: int | None = None) -> dict[str, int]:
    sizes = {
        "hidden_size": d,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "intermediate_size": mlp,
        "num_key_value_heads": kv_heads,
    }
    return {key: size for key, size in sizes.items() if size is not None}


KNOWN_MODELS: Mapping[str, tuple[dict[str, Any], int]] = {
    "gpt2": ({**_GPT2, "n_embd": 768, "n_layer": 12, "n_head": 12}, 124_439_808),
    "gpt2-medium": ({**_GPT2, "n_embd": 1024, "n_layer": 24, "n_head": 16}, 354_823_168),
    "gpt2-large": ({**_GPT2, "n_embd": 1280, "n_layer": 36, "n_head": 20}, 774_030_080),
    "gpt2-xl": ({**_GPT2, "n_embd": 1600, "n_layer": 48, "n_head": 25}, 1_557_611_200),
    "opt-125m": ({**_OPT, **_sizes(768, 12, 12), "ffn_dim": 3072, "word_embed_proj_dim": 768}, 125_239_296),
    "opt-350m": (
        {
            **_OPT, **_sizes(1024, 24, 16), "ffn_dim": 4096, "word_embed_proj_dim": 512,
            "do_layer_norm_before": False,
        },
        331_196_416,
    ),
    "opt-1.3b": ({**_OPT, **_sizes(2048, 24, 32), "ffn_dim": 8192, "word_embed_proj_dim": 2048}, 1_315_758_080),
    "gpt-neo-125m": (
        {
            "model_type": "gpt_neo", "hidden_size": 768, "num_layers": 12, "num_heads": 12, "vocab_size": 50257,
            "attention_types": [[["global", "local"], 6]], "intermediate_size": None, "max_position_embeddings": 2048,
        },
        125_198_592,
    ),
    "pythia-70m": ({"model_type": "gpt_neox", "vocab_size": 50304, **_sizes(512, 6, 8, 2048)}, 70_426_624),
    "pythia-160m": ({"model_type": "gpt_neox", "vocab_size": 50304, **_sizes(768, 12, 12, 3072)}, 162_322_944),
    "tinyllama-1.1b": ({"model_type": "llama", "vocab_size": 32000, **_sizes(2048, 22, 32, 5632, 4)}, 1_100_048_384),
    "llama-2-7b": ({"model_type": "llama", "vocab_size": 32000, **_sizes(4096, 32, 32, 11008)}, 6_738_415_616),
    "llama-3.2-1b": ({**_LLAMA3, **_sizes(2048, 16, 32, 8192, 8), "head_dim": 64}, 1_235_814_400),
    "llama-3.2-3b": ({**_LLAMA3, **_sizes(3072, 28, 24, 8192, 8), "head_dim": 128}, 3_212_749_824),
    "smollm2-135m": ({**_SMOL, **_sizes(576, 30, 9, 1536, 3)}, 134_515_008),
    "smollm2-360m": ({**_SMOL, **_sizes(960, 32, 15, 2560, 5)}, 361_821_120),
    "smollm2-1.7b": ({**_SMOL, **_sizes(2048, 24, 32, 8192, 32)}, 1_711_376_384),
    "qwen2.5-0.5b": ({**_QWEN2, **_sizes(896, 24, 14, 4864, 2), "tie_word_embeddings": True}, 494_032_768),
    "qwen2.5-1.5b": ({**_QWEN2, **_sizes(1536, 28, 12, 8960, 2), "tie_word_embeddings": True}, 1_543_714_304),
    "qwen2.5-7b": ({**_QWEN2, **_sizes(3584, 28, 28, 18944, 4), "vocab_size": 152064}, 7_615_616_512),
    "qwen3-0.6b": (
        {
            "model_type": "qwen3", "vocab_size": 151936, "tie_word_embeddings": True, "head_dim": 128,
            **_sizes(1024, 28, 16, 3072, 8),
        },
        596_049_920,
    ),
    "mistral-7b-v0.1": (
        {"model_type": "mistral", "vocab_size": 32000, "sliding_window": 4096, **_sizes(4096, 32, 32, 14336, 8)},
        7_241_732_096,
    ),
    "phi-3-mini-4k": (
        {"model_type": "phi3", "vocab_size": 32064, "sliding_window": 2047, **_sizes(3072, 32, 32, 8192, 32)},
        3_821_079_552,
    ),
    "gemma-3-270m": (
        {"model_type": "gemma3_text", "vocab_size": 262144, "head_dim": 256, **_sizes(640, 18, 4, 2048, 1)},
        268_098_176,
    ),
    "gemma-3-1b": (
        {"model_type": "gemma3_text", "vocab_size": 262144, "head_dim": 256, **_sizes(1152, 26, 4, 6912, 1)},
        999_885_952,
    ),
}  # fmt: skip

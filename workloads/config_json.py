"""Reads values of a Hugging Face config.json, with the defaults that transformers has where a key is missing."""

from collections.abc import Collection, Mapping
from typing import NoReturn

MAX_COUNT = 2**31 - 1
MAX_BLOCKS = 10_000  # what is known of each is kept; the deepest that were ever trained have about 1,000


class ConfigError(ValueError):
    """A config.json that no shape can be made of; the message names the key and what is allowed."""


class Config:
    """The values of one config.json.

    Keys are asked for by the name that most families use; GPT-2 and GPT-Neo have spellings of their own.

    Args:
        values: the parsed file.
        defaults: what transformers takes for a missing key; every key that may be asked for stands here.
    """

    def __init__(self, values: Mapping[str, object], defaults: Mapping[str, object]) -> None:
        self._values, self._defaults = values, defaults

    def value(self, key: str) -> object:
        """Return what the file says, else the default."""
        for name in (key, *_OTHER_SPELLINGS.get(key, ())):
            if name in self._values:
                return self._values[name]
        return self._defaults[key]

    def count(self, key: str) -> int:
        """Return a whole number above 0, and not so large that no machine could hold what it counts."""
        value, most = self.value(key), MAX_BLOCKS if key == "num_hidden_layers" else MAX_COUNT
        if type(value) is not int or value < 1:
            self.refuse(key, "expected a whole number above 0")
        if value > most:
            self.refuse(key, f"expected at most {most:,}")
        return value

    def optional_count(self, key: str) -> int | None:
        """Return a whole number above 0, or None for null."""
        return None if self.value(key) is None else self.count(key)

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            self.refuse(key, "expected true or false")
        return value

    def part(self, key: str) -> float:
        """Return a number above 0, at most 1."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            self.refuse(key, "expected a number above 0, at most 1")
        return float(value)

    def word(self, key: str, allowed: Collection[str]) -> str:
        """Return a word out of `allowed`."""
        value = self.value(key)
        if not isinstance(value, str) or value not in allowed:
            self.refuse(key, f"supported: {', '.join(sorted(allowed))}")
        return value

    def refuse(self, key: str, why: str) -> NoReturn:
        """Raise a `ConfigError` about a key."""
        raise ConfigError(f"{key}: {why}; got {self.value(key)!r}")


_OTHER_SPELLINGS = {
    "hidden_size": ("n_embd",),
    "num_hidden_layers": ("n_layer", "num_layers"),
    "num_attention_heads": ("n_head", "num_heads"),
    "max_position_embeddings": ("n_positions",),
}

_LLAMA: Mapping[str, object] = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": None, "head_dim": None, "hidden_act": "silu",
    "max_position_embeddings": 2048, "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
}  # fmt: skip
_QWEN: Mapping[str, object] = {
    **_LLAMA, "vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32,
    "max_position_embeddings": 32768, "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28,
    "layer_types": None,
}  # fmt: skip

# Of the configuration classes of transformers 5.23; a test compares the models that they describe.
DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "gpt2": {
        "vocab_size": 50257, "max_position_embeddings": 1024, "hidden_size": 768, "num_hidden_layers": 12,
        "num_attention_heads": 12, "n_inner": None, "activation_function": "gelu_new", "tie_word_embeddings": True,
        "add_cross_attention": False,
    },
    "opt": {
        "vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072, "num_attention_heads": 12,
        "max_position_embeddings": 2048, "do_layer_norm_before": True, "_remove_final_layer_norm": False,
        "word_embed_proj_dim": None, "activation_function": "relu", "enable_bias": True,
        "layer_norm_elementwise_affine": True, "tie_word_embeddings": True,
    },
    "gpt_neo": {
        "vocab_size": 50257, "max_position_embeddings": 2048, "hidden_size": 2048, "num_hidden_layers": 24,
        "num_attention_heads": 16, "intermediate_size": None, "window_size": 256, "activation_function": "gelu_new",
        "attention_types": [[["global", "local"], 12]], "tie_word_embeddings": True,
    },
    "gpt_neox": {
        "vocab_size": 50432, "hidden_size": 6144, "num_hidden_layers": 44, "num_attention_heads": 64,
        "intermediate_size": 24576, "hidden_act": "gelu", "max_position_embeddings": 2048, "rope_parameters": None,
        "rotary_pct": 0.25, "tie_word_embeddings": False, "use_parallel_residual": True, "attention_bias": True,
    },
    "llama": _LLAMA,
    "mistral": {
        **_LLAMA, "intermediate_size": 14336, "num_key_value_heads": 8, "max_position_embeddings": 131072,
        "sliding_window": 4096,
    },
    "qwen2": _QWEN,
    "qwen3": {**_QWEN, "head_dim": 128},
    "phi3": {
        **_LLAMA, "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "max_position_embeddings": 4096,
        "sliding_window": None, "rope_parameters": None, "partial_rotary_factor": 1.0,
    },
    "gemma3_text": {
        **_LLAMA, "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 131072, "tie_word_embeddings": True, "sliding_window": 4096, "layer_types": None,
        "sliding_window_pattern": 6, "use_bidirectional_attention": False,
    },
}  # fmt: skip

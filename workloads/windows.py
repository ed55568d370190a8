"""How far back each block of a model looks, read from its config.json: None for all the way, else tokens.

A window of w lets a token attend to itself and the w - 1 tokens before it.
"""

from itertools import islice
from typing import cast

from workloads.config_json import Config

Windows = tuple[int | None, ...]


def everywhere(config: Config) -> Windows:
    """Return Mistral's and Phi-3's: the same in every block, and none where `sliding_window` is null."""
    return (config.optional_count("sliding_window"),) * config.count("num_hidden_layers")


def gpt_neo(config: Config) -> Windows:
    """Return GPT-Neo's: `attention_types` such as [[["global", "local"], 6]] is a pattern and its repetitions."""
    num_blocks, window = config.count("num_hidden_layers"), config.count("window_size")
    widths = {"global": None, "local": window}
    try:
        pattern = cast("list[tuple[list[str], int]]", config.value("attention_types"))
        repeated = (widths[kind] for kinds, repetitions in pattern for _ in range(repetitions) for kind in kinds)
        windows = tuple(islice(repeated, num_blocks + 1))
    except (TypeError, ValueError, KeyError):
        config.refuse("attention_types", 'expected a list such as [[["global", "local"], 6]]')
    if len(windows) != num_blocks:
        config.refuse("attention_types", f"expected as many types as blocks ({num_blocks})")
    return windows


def qwen(config: Config) -> Windows:
    """Return Qwen2's and Qwen3's: none unless `use_sliding_window`, and then from block `max_window_layers` on."""
    num_blocks = config.count("num_hidden_layers")
    window = config.optional_count("sliding_window") if config.flag("use_sliding_window") else None
    if config.value("layer_types") is not None:
        return _by_layer_types(config, window)
    first = config.value("max_window_layers")
    if type(first) is not int or first < 0:
        config.refuse("max_window_layers", "expected a whole number")
    return tuple(window if block >= first else None for block in range(num_blocks))


def gemma(config: Config) -> Windows:
    """Return Gemma 3's: every `sliding_window_pattern`-th block looks all the way back."""
    window = config.optional_count("sliding_window")
    if config.value("layer_types") is not None:
        return _by_layer_types(config, window)
    pattern = config.count("sliding_window_pattern")
    return tuple(window if (block + 1) % pattern else None for block in range(config.count("num_hidden_layers")))


def _by_layer_types(config: Config, window: int | None) -> Windows:
    widths = {"full_attention": None, "sliding_attention": window}
    types, num_blocks = config.value("layer_types"), config.count("num_hidden_layers")
    if not isinstance(types, list) or len(types) != num_blocks or any(kind not in list(widths) for kind in types):
        config.refuse("layer_types", f"expected a list of {num_blocks} words out of {', '.join(widths)}")
    return tuple(widths[kind] for kind in types)

"""What each supported model family looks like, read from its config.json without torch or transformers.

Names, widths, biases and defaults are those of the modelling and configuration files of transformers 5.23
(`models/<family>/modeling_<family>.py`); a test builds every family and compares.
"""

from collections.abc import Callable, Mapping
from typing import TypedDict

from workloads import windows
from workloads.blocks import KEPT_BY_ACTIVATION, BlockShape, Linear, NormKind, NormPlace
from workloads.config_json import Config
from workloads.windows import Windows


class ShapeFields(TypedDict):
    """The fields of a `workloads.shapes.ModelShape`, described there."""

    family: str
    num_blocks: int
    hidden_size: int
    vocab_size: int
    max_positions: int
    has_tied_embeddings: bool
    block: BlockShape
    attention_windows: Windows
    embedding_width: int
    num_position_rows: int
    num_final_norm_parameters: int | None


def gpt2(config: Config) -> ShapeFields:
    """Return the shape of GPT-2: fused qkv, learned positions, LayerNorm."""
    if config.flag("add_cross_attention"):
        config.refuse("add_cross_attention", "a decoder alone has none")
    d = config.count("hidden_size")
    d_mlp = config.optional_count("n_inner") or 4 * d
    block = BlockShape(
        linears=(
            Linear(name="attn.c_attn", role="qkv", d_in=d, d_out=3 * d, has_bias=True),
            Linear(name="attn.c_proj", role="o", d_in=d, d_out=d, has_bias=True),
            Linear(name="mlp.c_fc", role="up", d_in=d, d_out=d_mlp, has_bias=True),
            Linear(name="mlp.c_proj", role="down", d_in=d_mlp, d_out=d, has_bias=True),
        ),
        num_heads=config.count("num_attention_heads"),
        num_kv_heads=config.count("num_attention_heads"),
        head_dim=_head_dim(config),
        intermediate_size=d_mlp,
        activation=config.word("activation_function", KEPT_BY_ACTIVATION),
        num_norm_parameters=2 * 2 * d,
        norm="layer",
    )
    return _fields("gpt2", config, block, num_position_rows=config.count("max_position_embeddings"))


def opt(config: Config) -> ShapeFields:
    """Return the shape of OPT: learned positions with 2 extra rows, ReLU; OPT-350M projects its embeddings."""
    d, d_mlp = config.count("hidden_size"), config.count("ffn_dim")
    has_bias, is_before = config.flag("enable_bias"), config.flag("do_layer_norm_before")
    norm = 2 * d if config.flag("layer_norm_elementwise_affine") else 0
    block = BlockShape(
        linears=(
            *(Linear(name=f"self_attn.{r}_proj", role=r, d_in=d, d_out=d, has_bias=has_bias) for r in ("q", "k", "v")),
            Linear(name="self_attn.out_proj", role="o", d_in=d, d_out=d, has_bias=has_bias),
            Linear(name="fc1", role="up", d_in=d, d_out=d_mlp, has_bias=has_bias),
            Linear(name="fc2", role="down", d_in=d_mlp, d_out=d, has_bias=has_bias),
        ),
        num_heads=config.count("num_attention_heads"),
        num_kv_heads=config.count("num_attention_heads"),
        head_dim=_head_dim(config),
        intermediate_size=d_mlp,
        activation=config.word("activation_function", KEPT_BY_ACTIVATION),
        num_norm_parameters=2 * norm,
        norm="layer",
        norm_place="before" if is_before else "after",
    )
    return _fields(
        "opt",
        config,
        block,
        embedding_width=config.optional_count("word_embed_proj_dim"),
        num_position_rows=config.count("max_position_embeddings") + 2,
        num_norm_parameters=norm,
        has_final_norm=is_before and not config.flag("_remove_final_layer_norm"),
    )


def gpt_neo(config: Config) -> ShapeFields:
    """Return the shape of GPT-Neo: global and local attention in turn, without a fused kernel."""
    d, positions = config.count("hidden_size"), config.count("max_position_embeddings")
    d_mlp = config.optional_count("intermediate_size") or 4 * d
    path = "attn.attention"
    block = BlockShape(
        linears=(
            *(Linear(name=f"{path}.{r}_proj", role=r, d_in=d, d_out=d) for r in ("q", "k", "v")),
            Linear(name=f"{path}.out_proj", role="o", d_in=d, d_out=d, has_bias=True),
            Linear(name="mlp.c_fc", role="up", d_in=d, d_out=d_mlp, has_bias=True),
            Linear(name="mlp.c_proj", role="down", d_in=d_mlp, d_out=d, has_bias=True),
        ),
        num_heads=config.count("num_attention_heads"),
        num_kv_heads=config.count("num_attention_heads"),
        head_dim=_head_dim(config),
        intermediate_size=d_mlp,
        activation=config.word("activation_function", KEPT_BY_ACTIVATION),
        num_norm_parameters=2 * 2 * d,
        norm="layer",
        is_eager=True,
        num_buffer_bytes=positions * positions,  # one bool for each pair of positions: the causal (local) mask
    )
    return _fields("gpt_neo", config, block, attention_windows=windows.gpt_neo(config), num_position_rows=positions)


def gpt_neox(config: Config) -> ShapeFields:
    """Return the shape of GPT-NeoX (Pythia): MLP beside attention, a part of each head rotated."""
    d, d_mlp = config.count("hidden_size"), config.count("intermediate_size")
    has_bias = config.flag("attention_bias")
    block = BlockShape(
        linears=(
            Linear(name="attention.query_key_value", role="qkv", d_in=d, d_out=3 * d, has_bias=has_bias),
            Linear(name="attention.dense", role="o", d_in=d, d_out=d, has_bias=has_bias),
            Linear(name="mlp.dense_h_to_4h", role="up", d_in=d, d_out=d_mlp, has_bias=True),
            Linear(name="mlp.dense_4h_to_h", role="down", d_in=d_mlp, d_out=d, has_bias=True),
        ),
        num_heads=config.count("num_attention_heads"),
        num_kv_heads=config.count("num_attention_heads"),
        head_dim=_head_dim(config),
        intermediate_size=d_mlp,
        activation=config.word("hidden_act", KEPT_BY_ACTIVATION),
        num_norm_parameters=2 * 2 * d,
        norm="layer",
        is_parallel=config.flag("use_parallel_residual"),
        rotary="concatenated",
        rotary_dim=int(_head_dim(config) * _rotated_part(config, "rotary_pct")),
    )
    return _fields("gpt_neox", config, block)


def llama(config: Config) -> ShapeFields:
    """Return the shape of Llama (TinyLlama, SmolLM2, Llama 3): grouped queries, SwiGLU, RMSNorm."""
    attention, mlp = config.flag("attention_bias"), config.flag("mlp_bias")
    return _fields("llama", config, _llama_block(config, qkv_bias=attention, o_bias=attention, mlp_bias=mlp))


def mistral(config: Config) -> ShapeFields:
    """Return the shape of Mistral: Llama with a sliding window in every block."""
    return _fields("mistral", config, _llama_block(config), attention_windows=windows.everywhere(config))


def qwen2(config: Config) -> ShapeFields:
    """Return the shape of Qwen2 and Qwen2.5: Llama with biases on q, k, v."""
    return _fields("qwen2", config, _llama_block(config, qkv_bias=True), attention_windows=windows.qwen(config))


def qwen3(config: Config) -> ShapeFields:
    """Return the shape of Qwen3: Llama with normed queries and keys."""
    has_bias = config.flag("attention_bias")
    block = _llama_block(config, qkv_bias=has_bias, o_bias=has_bias, has_qk_norm=True)
    return _fields("qwen3", config, block, attention_windows=windows.qwen(config))


def phi3(config: Config) -> ShapeFields:
    """Return the shape of Phi-3: Llama with fused qkv and fused gate and up projections."""
    d, d_mlp = config.count("hidden_size"), config.count("intermediate_size")
    heads, kv_heads, head_dim = _grouped_heads(config)
    block = BlockShape(
        linears=(
            Linear(name="self_attn.qkv_proj", role="qkv", d_in=d, d_out=(heads + 2 * kv_heads) * head_dim),
            Linear(name="self_attn.o_proj", role="o", d_in=heads * head_dim, d_out=d),
            Linear(name="mlp.gate_up_proj", role="gate_up", d_in=d, d_out=2 * d_mlp),
            Linear(name="mlp.down_proj", role="down", d_in=d_mlp, d_out=d),
        ),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=d_mlp,
        activation=config.word("hidden_act", KEPT_BY_ACTIVATION),
        num_norm_parameters=2 * d,
        norm="rms",
        rotary="concatenated",
        rotary_dim=int(head_dim * _rotated_part(config, "partial_rotary_factor")),
    )
    return _fields("phi3", config, block, attention_windows=windows.everywhere(config))


def gemma3_text(config: Config) -> ShapeFields:
    """Return the shape of the text part of Gemma 3: norms on both sides, sliding windows in five of six blocks."""
    if config.flag("use_bidirectional_attention"):
        config.refuse("use_bidirectional_attention", "only causal models can be trained here")
    has_bias = config.flag("attention_bias")
    block = _llama_block(
        config,
        qkv_bias=has_bias,
        o_bias=has_bias,
        has_qk_norm=True,
        activation="hidden_activation",
        norm="rms_plus_one",
        norm_place="sandwich",
    )
    return _fields("gemma3_text", config, block, attention_windows=windows.gemma(config))


FAMILIES: Mapping[str, Callable[[Config], ShapeFields]] = {
    "gpt2": gpt2, "opt": opt, "gpt_neo": gpt_neo, "gpt_neox": gpt_neox, "llama": llama, "mistral": mistral,
    "qwen2": qwen2, "qwen3": qwen3, "phi3": phi3, "gemma3_text": gemma3_text,
}  # fmt: skip


def _llama_block(
    config: Config,
    *,
    qkv_bias: bool = False,
    o_bias: bool = False,
    mlp_bias: bool = False,
    has_qk_norm: bool = False,
    activation: str = "hidden_act",
    norm: NormKind = "rms",
    norm_place: NormPlace = "before",
) -> BlockShape:
    d, d_mlp = config.count("hidden_size"), config.count("intermediate_size")
    heads, kv_heads, head_dim = _grouped_heads(config)
    d_q, d_kv = heads * head_dim, kv_heads * head_dim
    num_hidden_norms = 4 if norm_place == "sandwich" else 2
    return BlockShape(
        linears=(
            Linear(name="self_attn.q_proj", role="q", d_in=d, d_out=d_q, has_bias=qkv_bias),
            Linear(name="self_attn.k_proj", role="k", d_in=d, d_out=d_kv, has_bias=qkv_bias),
            Linear(name="self_attn.v_proj", role="v", d_in=d, d_out=d_kv, has_bias=qkv_bias),
            Linear(name="self_attn.o_proj", role="o", d_in=d_q, d_out=d, has_bias=o_bias),
            Linear(name="mlp.gate_proj", role="gate", d_in=d, d_out=d_mlp, has_bias=mlp_bias),
            Linear(name="mlp.up_proj", role="up", d_in=d, d_out=d_mlp, has_bias=mlp_bias),
            Linear(name="mlp.down_proj", role="down", d_in=d_mlp, d_out=d, has_bias=mlp_bias),
        ),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=d_mlp,
        activation=config.word(activation, KEPT_BY_ACTIVATION),
        num_norm_parameters=num_hidden_norms * d + (2 * head_dim if has_qk_norm else 0),
        norm=norm,
        norm_place=norm_place,
        has_qk_norm=has_qk_norm,
        rotary="in_place",
        rotary_dim=head_dim,
        has_local_rotary=norm_place == "sandwich",
    )


def _fields(
    family: str,
    config: Config,
    block: BlockShape,
    *,
    attention_windows: Windows | None = None,
    embedding_width: int | None = None,
    num_position_rows: int = 0,
    num_norm_parameters: int | None = None,
    has_final_norm: bool = True,
) -> ShapeFields:
    """Add what all families have; a norm has a weight as wide as the model, LayerNorm also a bias."""
    d, num_blocks = config.count("hidden_size"), config.count("num_hidden_layers")
    if num_norm_parameters is None:
        num_norm_parameters = 2 * d if block.norm == "layer" else d
    return ShapeFields(
        family=family,
        num_blocks=num_blocks,
        hidden_size=d,
        vocab_size=config.count("vocab_size"),
        max_positions=config.count("max_position_embeddings"),
        has_tied_embeddings=config.flag("tie_word_embeddings"),
        block=block,
        attention_windows=attention_windows or (None,) * num_blocks,
        embedding_width=embedding_width or d,
        num_position_rows=num_position_rows,
        num_final_norm_parameters=num_norm_parameters if has_final_norm else None,
    )


def _head_dim(config: Config) -> int:
    d, heads = config.count("hidden_size"), config.count("num_attention_heads")
    if d % heads:
        config.refuse("num_attention_heads", f"must divide hidden_size ({d})")
    return d // heads


def _grouped_heads(config: Config) -> tuple[int, int, int]:
    """Return heads, key/value heads and the width of a head."""
    heads = config.count("num_attention_heads")
    kv_heads = config.optional_count("num_key_value_heads") or heads
    if heads % kv_heads:
        config.refuse("num_key_value_heads", f"must divide num_attention_heads ({heads})")
    return heads, kv_heads, config.optional_count("head_dim") or _head_dim(config)


def _rotated_part(config: Config, old_key: str) -> float:
    """Return which part of a head is rotated; newer files say so inside `rope_parameters`."""
    rope = config.value("rope_parameters")
    if isinstance(rope, Mapping) and "partial_rotary_factor" in rope:
        return Config(rope, rope).part("partial_rotary_factor")
    return config.part(old_key)

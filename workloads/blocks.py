"""The anatomy of one decoder block: its linears, its norms, and through which of its tensors gradients flow.

Plain data; `families.py` fills it in from a config.json, `counts.py` and `activations.py` derive costs from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Role = Literal["q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down"]
NormKind = Literal["layer", "rms", "rms_plus_one"]
NormPlace = Literal["before", "after", "sandwich"]
Rotary = Literal["none", "in_place", "concatenated"]

ATTENTION_ROLES: frozenset[Role] = frozenset({"q", "k", "v", "qkv", "o"})
MLP_ROLES: frozenset[Role] = frozenset({"gate", "up", "gate_up", "down"})

# How many tensors as wide as its input an activation function keeps for its backward pass, its output not counted.
# A fused kernel keeps its input. OpenAI's tanh approximation is written out in transformers (`NewGELUActivation`,
# `FastGELUActivation`): every product keeps both of its factors. ReLU keeps its output alone (see `KEEPS_OUTPUT`).
KEPT_BY_ACTIVATION = {
    "relu": 0,
    "gelu": 1,
    "gelu_pytorch_tanh": 1,
    "silu": 1,
    "swish": 1,
    "gelu_new": 4,  # x; 0.5 x; tanh(...); 1 + tanh(...)
    "gelu_fast": 7,  # x; 0.5 x; 0.798 x; 0.0447 x; 1 + 0.0447 x x; tanh(...); 1 + tanh(...)
}
KEEPS_OUTPUT = frozenset({"relu"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """One weight matrix of a block.

    Attributes:
        name: its path inside the block, such as `self_attn.q_proj` or `attn.c_proj`. PEFT takes it as a target module
            as it stands (a module matches if its path is `name` or ends with `.name`), and it matches nothing else.
        role: what it is for.
        d_in, d_out: width of its input and of its output.
        has_bias: whether it adds a bias.
    """

    name: str
    role: Role
    d_in: int
    d_out: int
    has_bias: bool = False

    @property
    def num_weights(self) -> int:
        """Return how many weights the matrix has, without the bias."""
        return self.d_in * self.d_out

    @property
    def num_parameters(self) -> int:
        """Return weights and bias."""
        return self.num_weights + (self.d_out if self.has_bias else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockShape:
    """One decoder block, as Hugging Face transformers computes it.

    Attributes:
        linears: in the order of execution.
        num_heads, num_kv_heads, head_dim: of the attention; several heads may share one key/value head.
        intermediate_size: width of the MLP.
        activation: of the MLP, by its name in transformers.
        num_norm_parameters: of all norms of the block.
        norm: `layer` (one fused kernel), `rms` (written out in tensor operations), `rms_plus_one` (times 1 + weight).
        norm_place: `before` attention and MLP, `after` each residual sum (OPT-350M), or `sandwich`: before and after
            attention and MLP (Gemma 3).
        is_parallel: whether MLP and attention read the same block input (GPT-NeoX).
        has_qk_norm: whether queries and keys are normed per head.
        rotary: rotary position embedding; `concatenated` where part of a head is rotated and glued to the rest.
        rotary_dim: how much of a head is rotated.
        has_local_rotary: whether blocks with an attention window have rotary angles of their own (Gemma 3).
        is_eager: whether attention keeps its T x T weights (GPT-Neo has no fused kernel in transformers).
        num_buffer_bytes: of the constant tensors that each block holds beside its weights.
    """

    linears: tuple[Linear, ...]
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    activation: str
    num_norm_parameters: int
    norm: NormKind
    norm_place: NormPlace = "before"
    is_parallel: bool = False
    has_qk_norm: bool = False
    rotary: Rotary = "none"
    rotary_dim: int = 0
    has_local_rotary: bool = False
    is_eager: bool = False
    num_buffer_bytes: int = 0

    @property
    def is_gated(self) -> bool:
        """Return whether the MLP multiplies two branches (SwiGLU, GeGLU)."""
        return any(linear.role in ("gate", "gate_up") for linear in self.linears)

    @property
    def num_linear_weights(self) -> int:
        """Return P_lin: the weights of all matrices, without biases."""
        return sum(linear.num_weights for linear in self.linears)

    @property
    def num_parameters(self) -> int:
        """Return all parameters of the block."""
        return sum(linear.num_parameters for linear in self.linears) + self.num_norm_parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientFlow:
    """Which tensors of one block carry a gradient, given what is adapted and whether the block's input carries one.

    Frozen weights need no gradient themselves; a tensor carries one as soon as an adapter lies before it. So in the
    lowest adapted block of a model nothing before the first adapted linear is saved or differentiated.

    Attributes:
        block_input: what the block reads.
        query, key, value: what attention multiplies.
        attention_output: what attention adds to the residual stream, and the stream after that.
        mlp_input: what the MLP and the norm before it read.
        gate, up: the MLP's two branches, or its one (`up`), before the activation function.
        mlp_output: what the MLP adds to the residual stream.
    """

    block_input: bool
    query: bool
    key: bool
    value: bool
    attention_output: bool
    mlp_input: bool
    gate: bool
    up: bool
    mlp_output: bool

    @property
    def attention(self) -> bool:
        """Return whether the product of attention, the input of the output projection, carries a gradient."""
        return self.query or self.key or self.value

    @property
    def hidden(self) -> bool:
        """Return whether the wide vector inside the MLP, the input of the down projection, carries a gradient."""
        return self.gate or self.up

    @property
    def block_output(self) -> bool:
        """Return whether what the next block reads carries a gradient."""
        return self.attention_output or self.mlp_output

    def at_input_of(self, role: Role) -> bool:
        """Return whether the input of a linear carries a gradient, so that backward must pass through the linear."""
        if role == "o":
            return self.attention
        if role == "down":
            return self.hidden
        return self.block_input if role in ATTENTION_ROLES else self.mlp_input


def gradient_flow(block: BlockShape, adapted: Iterable[Linear], *, block_input: bool) -> GradientFlow:
    """Follow gradients through a block.

    Args:
        block: the block.
        adapted: its linears that have an adapter.
        block_input: whether its input carries a gradient: true on a server, whose input the client wants the gradient
            of, and above an adapted block; false for embeddings, which are frozen.
    """
    roles = {linear.role for linear in adapted}
    query, key, value = (block_input or not roles.isdisjoint({part, "qkv"}) for part in ("q", "k", "v"))
    attention_output = query or key or value or "o" in roles
    mlp_input = block_input if block.is_parallel else attention_output
    gate = mlp_input or not roles.isdisjoint({"gate", "gate_up"})
    up = mlp_input or not roles.isdisjoint({"up", "gate_up"})
    return GradientFlow(
        block_input=block_input,
        query=query,
        key=key,
        value=value,
        attention_output=attention_output,
        mlp_input=mlp_input,
        gate=gate,
        up=up,
        mlp_output=gate or up or "down" in roles,
    )

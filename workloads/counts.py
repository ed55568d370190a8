"""Work and sizes of LoRA training: FLOPs, parameters and bytes of any run of blocks, from shapes alone.

A multiplication and an addition are 2 FLOPs (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). Elementwise work
(norms, activations, softmax) is not counted: it is bound by memory and part of what a device's achieved fraction of its
peak, measured on whole layers, leaves over. Tokens are padded ones: kernels compute padding too.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from workloads.blocks import BlockShape, GradientFlow, Linear, gradient_flow
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape

WEIGHT_BYTES: Mapping[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
ADAPTER_BYTES = 4  # adapters are float32 whatever the base model is, in memory and on the wire
INDEX_BYTES = 4  # labels and lengths travel as int32

# AdamW (Loshchilov & Hutter 2019, algorithm 2) as one pass over memory: it reads weight, gradient and both moments and
# writes weight and both moments, float32 each.
OPTIMIZER_BYTES_TOUCHED = (4 + 3) * 4


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionKernel:
    """How the product of attention is computed.

    Attributes:
        skips_mask: leaves out what the causal mask hides (FlashAttention); else the full window is computed.
        recomputes: backward computes the attention weights again instead of keeping them.
    """

    skips_mask: bool = False
    recomputes: bool = False


PLAIN_ATTENTION = AttentionKernel()
FLASH_ATTENTION = AttentionKernel(skips_mask=True, recomputes=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A run of consecutive blocks with their adapters: what one side of the cut holds.

    Attributes:
        shape: the whole model.
        targets: the adapted linears of each block.
        blocks: which blocks, counted from 0.
        ranks: rows of the adapters that are trained, one number per block.
        held_ranks: rows that are computed with, dormant ones included, one number per block.
        trains_a: whether both factors of the adapters are trained, or only B.
        has_embeddings, has_head: whether embeddings, or final norm and LM head, belong to it.
        has_input_gradient: whether its input carries a gradient; false below the embeddings, which are frozen.
    """

    shape: ModelShape
    targets: tuple[Linear, ...]
    blocks: range
    ranks: tuple[int, ...]
    held_ranks: tuple[int, ...]
    trains_a: bool
    has_embeddings: bool
    has_head: bool
    has_input_gradient: bool


@dataclass(frozen=True, slots=True)
class BlockKind:
    """What a block's cost depends on besides the batch: ranks, attention window, gradient at its input."""

    rank: int
    held_rank: int
    window: int | None
    has_input_gradient: bool


def client_part(shape: ModelShape, lora: LoraSpec, cut: int) -> Part:
    """Return embeddings and blocks 1..cut; with all blocks (no split) also norm and head."""
    return Part(
        shape=shape,
        targets=lora.targets,
        blocks=range(cut),
        ranks=lora.block_ranks(shape.num_blocks, cut)[:cut],
        held_ranks=lora.held_ranks(shape.num_blocks, cut)[:cut],
        trains_a=lora.trains_a,
        has_embeddings=True,
        has_head=cut == shape.num_blocks,
        has_input_gradient=False,
    )


def server_part(shape: ModelShape, lora: LoraSpec, cut: int) -> Part:
    """Return blocks cut+1..L, final norm and LM head; its input carries the gradient that the client waits for."""
    return Part(
        shape=shape,
        targets=lora.targets,
        blocks=range(cut, shape.num_blocks),
        ranks=lora.block_ranks(shape.num_blocks, cut)[cut:],
        held_ranks=lora.held_ranks(shape.num_blocks, cut)[cut:],
        trains_a=lora.trains_a,
        has_embeddings=False,
        has_head=True,
        has_input_gradient=True,
    )


def block_kinds(part: Part) -> Mapping[BlockKind, int]:
    """Return how many blocks of each kind a part has; blocks of one kind cost the same."""
    kinds: Counter[BlockKind] = Counter()
    carries = part.has_input_gradient
    for block, rank, held_rank in zip(part.blocks, part.ranks, part.held_ranks, strict=True):
        kinds[BlockKind(rank, held_rank, part.shape.attention_windows[block], carries)] += 1
        carries = True  # every block has adapters, so what leaves it carries a gradient
    return kinds


def forward_flops(part: Part, batch_size: int, length_tokens: int, kernel: AttentionKernel) -> int:
    """Return the FLOPs of one forward pass, LM head included where the part has it; embeddings are look-ups."""
    tokens = batch_size * length_tokens
    linears = part.shape.block.num_linear_weights
    widths = _sum_of_widths(part.targets)
    flops = head_flops(part, tokens)
    flops += 2 * tokens * part.shape.num_projection_weights if part.has_embeddings else 0
    for kind, num_blocks in block_kinds(part).items():
        # 2 P for x Wᵀ; LoRA computes A x (2 r d_in) and B of that (2 r d_out).
        per_token = 2 * linears + 2 * kind.held_rank * widths
        attention = _attention_flops(part.shape.block, kind.window, length_tokens, kernel)
        flops += num_blocks * (tokens * per_token + batch_size * attention)
    return flops


def recompute_flops(part: Part, batch_size: int, length_tokens: int, kernel: AttentionKernel) -> int:
    """Return the FLOPs of computing the blocks again in the backward pass: what gradient checkpointing costs."""
    tokens = batch_size * length_tokens
    flops = forward_flops(part, batch_size, length_tokens, kernel) - head_flops(part, tokens)
    return flops - (2 * tokens * part.shape.num_projection_weights if part.has_embeddings else 0)


def backward_flops(part: Part, batch_size: int, length_tokens: int, kernel: AttentionKernel) -> int:
    """Return the FLOPs of one backward pass, down to the lowest tensor whose gradient anybody needs.

    Frozen weights need no weight gradient, so a linear costs 2 P here and 4 P in all, where training it costs 6 P. The
    embeddings are frozen: the lowest adapted block of a client passes no gradient on to its input.
    """
    tokens = batch_size * length_tokens
    flops = head_flops(part, tokens)  # the gradient of the head's input: as much as the head itself
    for kind, num_blocks in block_kinds(part).items():
        flow = gradient_flow(part.shape.block, part.targets, block_input=kind.has_input_gradient)
        per_token = sum(
            _linear_backward_flops(linear, flow.at_input_of(linear.role))
            + (_adapter_backward_flops(part, linear, kind, flow) if linear in part.targets else 0)
            for linear in part.shape.block.linears
        )
        forward = _attention_flops(part.shape.block, kind.window, length_tokens, kernel)
        attention = _attention_products(flow, kernel) * forward // 2
        flops += num_blocks * (tokens * per_token + batch_size * attention)
    return flops


def _linear_backward_flops(linear: Linear, input_gradient: bool) -> int:
    """Return FLOPs per token of a frozen linear: those of the gradient of its input, if anybody needs it."""
    return 2 * linear.num_weights if input_gradient else 0


def _adapter_backward_flops(part: Part, linear: Linear, kind: BlockKind, flow: GradientFlow) -> int:
    """Return FLOPs per token: gradients of B (r d_out), A x (r d_out), A (r d_in) and, if needed, x (r d_in).

    Rows that are held but not trained only pass the gradient on to x; so does all of A where it is not trained.
    """
    input_gradient = flow.at_input_of(linear.role)
    trained_a = kind.rank if part.trains_a else 0
    at_ax = kind.held_rank if input_gradient else trained_a
    to_x = kind.held_rank if input_gradient else 0
    return 2 * (linear.d_out * (kind.rank + at_ax) + linear.d_in * (trained_a + to_x))


def _attention_products(flow: GradientFlow, kernel: AttentionKernel) -> int:
    """Return the products of attention in backward, of which forward has two, q kᵀ and weights v.

    Each has two factors, and so two products here (2 x), less those of factors without a gradient, as in a lowest block
    of which only some linears are adapted. Recomputing the weights from q and k is one more (2.5 x; Dao 2023, arXiv
    2307.08691, section 4.1); such a kernel computes all of it or nothing.
    """
    if kernel.recomputes:
        return 5 * flow.attention
    return flow.query + flow.key + (flow.query or flow.key) + flow.value


def _attention_flops(block: BlockShape, window: int | None, length_tokens: int, kernel: AttentionKernel) -> int:
    """Return the FLOPs of q kᵀ and weights times v for one sequence.

    Every token meets w = min(T, window) keys in every head, 2 FLOPs for each of head_dim values in each of the two
    products: 4 T w heads head_dim. Skipping the mask, the i-th token meets min(i, w): T w - w²/2 pairs, which is half
    where w = T.
    """
    width = length_tokens if window is None else min(length_tokens, window)
    per_pair = 4 * block.num_heads * block.head_dim
    if kernel.skips_mask:
        return per_pair // 2 * (2 * length_tokens * width - width * width)
    return per_pair * length_tokens * width


def head_flops(part: Part, tokens: int) -> int:
    """Return the FLOPs of LM head and, for OPT-350M, the projection before it, in one direction."""
    shape = part.shape
    return 2 * tokens * (shape.num_head_weights + shape.num_projection_weights) if part.has_head else 0


def _sum_of_widths(targets: tuple[Linear, ...]) -> int:
    return sum(linear.d_in + linear.d_out for linear in targets)


def base_parameters(part: Part) -> int:
    """Return the parameters of the frozen base model that a part holds; a tied matrix once, if it holds both uses."""
    shape = part.shape
    if part.has_embeddings and part.has_head:
        return shape.num_parameters - (shape.num_blocks - len(part.blocks)) * shape.block.num_parameters
    outside = shape.num_embedding_parameters if part.has_embeddings else 0
    outside += shape.num_head_parameters if part.has_head else 0
    return outside + len(part.blocks) * shape.block.num_parameters


def base_bytes(part: Part, dtype: str) -> int:
    """Return the bytes of a part's base model: parameters in `dtype` and constant buffers."""
    return base_parameters(part) * WEIGHT_BYTES[dtype] + len(part.blocks) * part.shape.block.num_buffer_bytes


def adapter_parameters(part: Part) -> int:
    """Return the values that are trained of A (r x d_in) and B (d_out x r), over all adapted linears of the part."""
    return sum(part.ranks) * _width_sent(part)


def held_parameters(part: Part) -> int:
    """Return the values of A and B that are in memory, dormant rows included."""
    return sum(part.held_ranks) * _sum_of_widths(part.targets)


def adapter_bytes(part: Part) -> int:
    """Return the bytes of what is trained of a part's adapters: what a client hands in."""
    return ADAPTER_BYTES * adapter_parameters(part)


def received_bytes(part: Part) -> int:
    """Return the bytes of the adapters that a client gets: all rows that it holds; an A that nobody trains it has."""
    return ADAPTER_BYTES * sum(part.held_ranks) * _width_sent(part)


def _width_sent(part: Part) -> int:
    """Return the values of one row over all adapted linears; without those of A where it stays as the seed made it."""
    return _sum_of_widths(part.targets) if part.trains_a else sum(linear.d_out for linear in part.targets)


def optimizer_bytes_touched(part: Part) -> int:
    """Return the bytes that one optimizer step reads and writes."""
    return OPTIMIZER_BYTES_TOUCHED * adapter_parameters(part)


def label_bytes(batch_size: int, length_tokens: int) -> int:
    """Return the bytes of what a step sends along with activations: labels (B x T) and lengths (B)."""
    return INDEX_BYTES * (batch_size * length_tokens + batch_size)


def logits_bytes(shape: ModelShape, batch_size: int, length_tokens: int) -> int:
    """Return the bytes of the three float32 tensors that the loss needs at once.

    They are the logits, their log-softmax, which is kept for backward, and the gradient.
    """
    return 3 * 4 * batch_size * length_tokens * shape.vocab_size

"""Bytes that autograd keeps between forward and backward: the tensors that it really saves, storage by storage.

Written down for the kernels that Hugging Face transformers and PEFT run (`scaled_dot_product_attention`, causal, no
padding mask, dropout 0) and equal to the byte, on CPU, to what `torch.autograd.graph.saved_tensors_hooks` sees in every
family; a test compares. Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1) add up the same terms for full
training; with frozen weights a linear keeps its input only if it is adapted, and nothing is kept below the lowest
adapter.

Each function below returns bytes per token unless it says otherwise; `b` is the number of bytes of a value.
"""

from workloads.blocks import (
    ATTENTION_ROLES,
    KEEPS_OUTPUT,
    KEPT_BY_ACTIVATION,
    BlockShape,
    GradientFlow,
    Linear,
    gradient_flow,
)
from workloads.counts import WEIGHT_BYTES, BlockKind, Part, block_kinds

_FLOAT32 = 4


def activation_bytes(
    part: Part, batch_size: int, length_tokens: int, dtype: str, *, checkpointing: bool = False
) -> int:
    """Return the bytes that are saved for the backward pass of a part, without its logits (`counts.logits_bytes`).

    Args:
        part: which blocks.
        batch_size: B.
        length_tokens: T, padded.
        dtype: of base model and activations.
        checkpointing: whether each block keeps its input alone and computes the rest again in the backward pass (Chen
            et al. 2016, arXiv 1604.06174, with the block as the segment); then one block's tensors are there at a time.
    """
    shape, block, b = part.shape, part.shape.block, WEIGHT_BYTES[dtype]
    tokens = batch_size * length_tokens
    of_blocks: list[int] = []
    rotary_angles: set[bool] = set()
    for kind, num_blocks in block_kinds(part).items():
        flow = gradient_flow(block, part.targets, block_input=kind.has_input_gradient)
        per_token = (
            _norms(shape.hidden_size, block, flow, b)
            + _adapters(part, kind.held_rank, flow, b)
            + _attention(block, kind, flow, b, length_tokens)
            + _mlp(block, flow, b)
        )
        of_blocks += num_blocks * [tokens * per_token + _norm_weights(shape.hidden_size, block, flow)]
        if flow.query or flow.key:
            rotary_angles.add(block.has_local_rotary and kind.window is not None)
    inputs_bytes = len(of_blocks) * tokens * shape.hidden_size * b
    num_bytes = inputs_bytes + max(of_blocks) if checkpointing else sum(of_blocks)
    # One cosine and one sine for each position and rotated value, shared by all samples and blocks.
    num_bytes += len(rotary_angles) * 2 * length_tokens * block.rotary_dim * b
    if part.has_head and shape.num_final_norm_parameters is not None:
        num_bytes += tokens * _norm(block, shape.hidden_size, b) + _norm_weight(block, shape.hidden_size)
    return num_bytes


def _norm(block: BlockShape, width: int, b: int) -> int:
    """Return what one norm keeps of one vector.

    LayerNorm keeps its input, mean and 1/deviation. RMSNorm, written out, computes in float32: it keeps x, which is its
    input or a float32 copy of that, and 1/rms.
    """
    return b * (width + 2) if block.norm == "layer" else _FLOAT32 * (width + 1)


def _norms(hidden: int, block: BlockShape, flow: GradientFlow, b: int) -> int:
    is_after = block.norm_place == "after"
    before_attention = flow.attention_output if is_after else flow.block_input
    before_mlp = flow.block_output if is_after else flow.mlp_input
    num_norms = before_attention + before_mlp
    if block.norm_place == "sandwich":
        num_norms += flow.attention_output + flow.mlp_output
    kept = num_norms * _norm(block, hidden, b)
    if block.is_parallel and flow.block_input:
        kept -= b * hidden  # both norms read, and keep, the same tensor
    if block.has_qk_norm:
        num_heads = flow.query * block.num_heads + flow.key * block.num_kv_heads
        kept += num_heads * _norm(block, block.head_dim, b)
    return kept


def _norm_weight(block: BlockShape, width: int) -> int:
    """Return the bytes of 1 + weight, which Gemma's norm computes anew and its product keeps; not per token."""
    return _FLOAT32 * width if block.norm == "rms_plus_one" else 0


def _norm_weights(hidden: int, block: BlockShape, flow: GradientFlow) -> int:
    num_norms = flow.block_input + flow.attention_output + flow.mlp_input + flow.mlp_output
    return num_norms * _norm_weight(block, hidden) + (flow.query + flow.key) * _norm_weight(block, block.head_dim)


def _adapters(part: Part, rank: int, flow: GradientFlow, b: int) -> int:
    """Return what adapted linears keep: A x for the gradient of B, and x for that of A where it is trained, float32.

    With a float32 model x is the tensor that the base linear reads: linears that read the same one share it, and it may
    already be kept by what made it. With a 16-bit model PEFT makes a float32 copy for each adapted linear.
    """
    kept = len(part.targets) * _FLOAT32 * rank
    if not part.trains_a:
        return kept
    if b != _FLOAT32:
        return kept + sum(_FLOAT32 * linear.d_in for linear in part.targets)
    inputs = {_input_name(linear): linear.d_in for linear in part.targets}
    if flow.attention and _attention_keeps_input_of_o(part.shape.block):
        inputs.pop("o", None)
    if flow.hidden and _activation_keeps_input_of_down(part.shape.block):
        inputs.pop("down", None)
    return kept + _FLOAT32 * sum(inputs.values())


def _input_name(linear: Linear) -> str:
    if linear.role in ("o", "down"):
        return linear.role
    return "attention" if linear.role in ATTENTION_ROLES else "mlp"


def _attention_keeps_input_of_o(block: BlockShape) -> bool:
    """Return whether the output that the attention kernel keeps is, in memory, what the output projection reads.

    It has the layout of the queries. Rotated in place these lie token by token, as the projection wants them; glued
    together they lie head by head, and the projection reads a copy. An eager product does not keep its output.
    """
    return not block.is_eager and block.rotary != "concatenated"


def _activation_keeps_input_of_down(block: BlockShape) -> bool:
    return block.activation in KEEPS_OUTPUT and not block.is_gated


def _attention(block: BlockShape, kind: BlockKind, flow: GradientFlow, b: int, length_tokens: int) -> int:
    if not flow.attention:
        return 0
    if block.is_eager:
        return _eager_attention(block, flow, b, length_tokens)
    query, key = block.num_heads * block.head_dim, block.num_kv_heads * block.head_dim
    is_fused = any(linear.role == "qkv" for linear in block.linears)
    # transformers hands a mask over as soon as the window is as short as the sequence. It then repeats keys and values
    # for every head (without a copy where there is one of them), and the kernel keeps the mask as numbers, T for each
    # token.
    is_masked = kind.window is not None and length_tokens >= kind.window
    if is_masked and 1 < block.num_kv_heads < block.num_heads:
        projections = 3 * query
    elif is_fused and block.rotary == "concatenated":
        projections = query + key + (query + 2 * key)  # v is a view, which keeps all of q, k, v before rotation alive
    else:
        projections = query + 2 * key
    mask = b * length_tokens if is_masked else 0
    log_sum_exp = _FLOAT32 * block.num_heads
    return b * (projections + query) + log_sum_exp + mask


def _eager_attention(block: BlockShape, flow: GradientFlow, b: int, length_tokens: int) -> int:
    """Return what GPT-Neo keeps: a product keeps the factor whose partner carries a gradient; q and k are float32."""
    width, weights = block.num_heads * block.head_dim, block.num_heads * length_tokens
    has_weights_gradient = flow.query or flow.key
    kept = _FLOAT32 * width * (flow.query + flow.key)
    kept += (_FLOAT32 * weights + b * width) * has_weights_gradient  # the softmax's output; v
    if flow.value and (b != _FLOAT32 or not has_weights_gradient):
        kept += b * weights  # the weights as the second product reads them: a copy, unless the softmax's are float32
    return kept


def _mlp(block: BlockShape, flow: GradientFlow, b: int) -> int:
    kept, keeps_output = KEPT_BY_ACTIVATION[block.activation], block.activation in KEEPS_OUTPUT
    if not block.is_gated:
        num_tensors = (kept + keeps_output) * flow.hidden
    elif any(linear.role == "gate_up" for linear in block.linears):
        # Both halves of one tensor, one of which is the activation's input; the activation's output.
        num_tensors = (2 + max(kept - 1, 0) + 1) * flow.hidden
    else:
        output = flow.up or (flow.gate and keeps_output)
        num_tensors = kept * flow.gate + output + flow.gate  # the last: the other factor of the gated product
    return b * block.intermediate_size * num_tensors

"""Cut a Hugging Face decoder LM between two blocks into a client part and a server part.

The parts are really separate: the client part holds embeddings and the first blocks and knows no later block, norm or
head; the server part holds the other blocks, the final norm and the LM head and never runs an embedding. What passes
between them are the tensors of an `Upload` and of a `Reply`, nothing else. Weights are shared with the whole model and
never copied.

No model's forward is written again: a part is the model itself in which some modules are exchanged for others. Only the
modules on the way from the model to its list of blocks are copied for that, and those copies are shallow.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from workloads.anatomy import Anatomy, UnsupportedModelError, examine, exchange, probe_ids
from workloads.batches import IGNORED_LABEL


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What a client sends for one step.

    Attributes:
        activations: float32 [B, T, d], the output of the client's last block.
        labels: int32 [B, T], the token at each position; `IGNORED_LABEL` where it is not to be predicted.
        lengths: int32 [B], real tokens of each sample; the rest is padding on the right.
    """

    activations: Tensor
    labels: Tensor
    lengths: Tensor


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server makes of an upload.

    Attributes:
        loss: scalar, mean over the predicted positions; stays on the server.
        gradients: float32 [B, T, d], of the loss by the uploaded activations; sent back to the client.
    """

    loss: Tensor
    gradients: Tensor


class SplitModel:
    """A decoder LM that can be cut after any of its blocks but the last.

    The parts see whatever is put into the blocks later, such as LoRA layers, because the blocks are shared.

    Args:
        model: a causal LM of `transformers`, in evaluation mode.

    Raises:
        UnsupportedModelError: the blocks cannot be found, do not run in order, or the parts do not reproduce the
            model's own output to the bit.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self.anatomy = examine(model)
        self._parts: dict[int, tuple[ClientPart, ServerPart]] = {}
        self._check_parts()

    def parts(self, cut: int) -> tuple["ClientPart", "ServerPart"]:
        """Return the client part with blocks 1..cut and the server part with the others; made once for each cut.

        Raises:
            ValueError: a part would have no block.
        """
        if not 1 <= cut < self.anatomy.num_blocks:
            raise ValueError(f"cut {cut} leaves a part without blocks; allowed: 1 to {self.anatomy.num_blocks - 1}")
        if cut not in self._parts:
            self._parts[cut] = (
                ClientPart(self._model, self.anatomy, cut),
                ServerPart(self._model, self.anatomy, cut),
            )
        return self._parts[cut]

    def middle(self, cut: int) -> "MiddlePart":
        """Return the blocks behind the cut alone, without norm and head."""
        return MiddlePart(self._model, self.anatomy, cut)

    @cached_property
    def head(self) -> "ServerPart":
        """Return the final norm and the LM head alone."""
        return ServerPart(self._model, self.anatomy, self.anatomy.num_blocks)

    def _check_parts(self) -> None:
        ids = probe_ids(self._model)
        with torch.no_grad():
            whole = self._model(input_ids=ids, use_cache=False).logits
            if whole.isnan().any():
                raise UnsupportedModelError(
                    f"{type(self._model).__name__} gives NaN: weights or config.json are damaged"
                )
            for cut in sorted({1, self.anatomy.num_blocks - 1}):
                client, server = self.parts(cut)
                if not torch.equal(server.logits(at_least_float32(client.forward(ids))), whole):
                    raise UnsupportedModelError(
                        f"{type(self._model).__name__} cannot be split: cut after block {cut}, "
                        "its parts do not give the output of the whole model"
                    )


class ClientPart:
    """Embeddings and the first blocks of a model."""

    def __init__(self, model: PreTrainedModel, anatomy: Anatomy, cut: int) -> None:
        own_blocks = nn.ModuleList(model.get_submodule(anatomy.blocks)[:cut])
        removed = {path: nn.Identity() for path in anatomy.postlude}
        part = exchange(model, {anatomy.blocks: own_blocks, **removed})
        self._decoder = part.get_submodule(model.base_model_prefix)  # the model without its LM head

    def forward(self, ids: Tensor) -> Tensor:
        """Return the output of the last own block, [B, T, d], with its graph, for token ids [B, T]."""
        activations: Tensor = self._decoder(input_ids=ids, use_cache=False).last_hidden_state
        return activations

    def backward(self, activations: Tensor, gradients: Tensor) -> None:
        """Add to the gradients of the own adapters, given the gradients of the loss by `activations`."""
        torch.autograd.backward(activations, gradients.to(activations.dtype))


class ServerPart:
    """The last blocks of a model, its final norm and its LM head."""

    def __init__(self, model: PreTrainedModel, anatomy: Anatomy, cut: int) -> None:
        self._dtype = model.dtype
        self._model, self._entrance = _behind(model, anatomy, cut)

    def logits(self, activations: Tensor) -> Tensor:
        """Return the logits, [B, T, V], for the activations at the cut, [B, T, d]."""
        self._entrance.received = activations.to(self._dtype)
        try:
            logits: Tensor = self._model(inputs_embeds=self._entrance.received.detach(), use_cache=False).logits
        finally:
            self._entrance.received = None  # the graph must not outlive the step
        return logits

    def step(self, upload: Upload) -> Reply:
        """Run forward and backward for one batch; adds to the gradients of the own adapters."""
        received = upload.activations.detach().requires_grad_()
        loss = next_token_loss(self.logits(received), next_tokens(upload.labels, upload.lengths))
        torch.autograd.backward(loss)
        assert received.grad is not None
        return Reply(loss=loss.detach(), gradients=received.grad)


class MiddlePart:
    """The last blocks of a model, without final norm and LM head."""

    def __init__(self, model: PreTrainedModel, anatomy: Anatomy, cut: int) -> None:
        self._dtype = model.dtype
        part, self._entrance = _behind(model, anatomy, cut)
        part = exchange(part, {path: nn.Identity() for path in anatomy.postlude})
        self._decoder = part.get_submodule(model.base_model_prefix)  # the model without its LM head

    def forward(self, activations: Tensor) -> Tensor:
        """Return the output of the last block, [B, T, d], with its graph, for the activations at the cut, [B, T, d]."""
        self._entrance.received = activations.to(self._dtype)
        try:
            inputs = self._entrance.received.detach()
            hidden: Tensor = self._decoder(inputs_embeds=inputs, use_cache=False).last_hidden_state
        finally:
            self._entrance.received = None  # the graph must not outlive the step
        return hidden


def _behind(model: PreTrainedModel, anatomy: Anatomy, cut: int) -> tuple[nn.Module, "_Passage"]:
    """Return a model without embeddings and blocks 1..cut, and where activations enter it."""
    blocks: nn.ModuleList = model.get_submodule(anatomy.blocks)
    # The list keeps its length: some models look up a block's kind of attention by its position.
    absent = [_Passage(block, anatomy) for block in blocks[:cut]]
    removed = {path: stub for path in anatomy.prelude if (stub := _stub(model.get_submodule(path))) is not None}
    part = exchange(model, {anatomy.blocks: nn.ModuleList([*absent, *blocks[cut:]]), **removed})
    return part, absent[-1]


def at_least_float32(values: Tensor) -> Tensor:
    """Return values as they leave a part: float32, or float64 where that is computed in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def next_tokens(labels: Tensor, lengths: Tensor) -> Tensor:
    """Return what each position has to predict, int64 [B, T]; `IGNORED_LABEL` from each sample's last real token on.

    Args:
        labels: int32 [B, T], not shifted.
        lengths: int32 [B].
    """
    targets = nn.functional.pad(labels, (0, 1), value=IGNORED_LABEL)[:, 1:].long()
    positions = torch.arange(1, labels.shape[1] + 1, device=labels.device)
    return targets.masked_fill(positions >= lengths[:, None], IGNORED_LABEL)


def next_token_loss(logits: Tensor, targets: Tensor, *, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Return the cross entropy in nats, its mean or sum over the positions that predict something.

    Args:
        logits: [B, T, V].
        targets: int64 [B, T] as `next_tokens` gives them.
        reduction: `mean` or `sum`.
    """
    return nn.functional.cross_entropy(
        at_least_float32(logits).flatten(0, 1), targets.flatten(), ignore_index=IGNORED_LABEL, reduction=reduction
    )


class _Passage(nn.Module):
    """Stands in the server part where a block of the client was; holds none of its weights.

    It passes on what it is given or, as the last of them, what was received from the client. It has the block's plain
    attributes, because some models read a block's kind of attention.
    """

    def __init__(self, block: nn.Module, anatomy: Anatomy) -> None:
        super().__init__()
        self._returns_tuple = anatomy.blocks_return_tuples
        self.received: Tensor | None = None
        for name, value in plain_attributes(block).items():
            setattr(self, name, value)

    def forward(self, hidden: Tensor, *_args: object, **_kwargs: object) -> Tensor | tuple[Tensor]:
        passed = hidden if self.received is None else self.received
        return (passed,) if self._returns_tuple else passed


def plain_attributes(block: nn.Module) -> dict[str, object]:
    """Return what a block has besides tensors and modules, which some models read of a block: its kind of attention."""
    return {
        name: value
        for name, value in vars(block).items()
        if not name.startswith("_") and not isinstance(value, Tensor | nn.Module)
    }


class _NoEmbedding(nn.Module):
    """Stands in the server part where an embedding was; adds nothing."""

    def forward(self, *_args: object, **_kwargs: object) -> Tensor:
        return torch.zeros(())


def _stub(module: nn.Module) -> nn.Module | None:
    """Return what replaces a module before the first block in the server part; None if it stays.

    What has no weights and draws no random numbers stays: rotary angles, which all blocks need.
    """
    if isinstance(module, nn.Embedding):
        return _NoEmbedding()
    if isinstance(module, nn.Dropout) or any(True for _ in module.parameters()):
        return nn.Identity()
    return None

"""Where the blocks of a decoder LM are, what runs around them, and how to exchange modules of it.

Nothing here knows a model family: one forward pass is watched.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class UnsupportedModelError(ValueError):
    """The model is not built as a list of decoder blocks that run one after another."""


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Where a decoder's blocks are and what runs around them; modules are named by their path in the model.

    Attributes:
        blocks: the list of decoder blocks.
        num_blocks: how many there are.
        prelude: modules that run before the first block, such as embeddings and rotary angles.
        postlude: modules that run after the last block: final norm, projections, LM head.
        blocks_return_tuples: whether a block returns its hidden state as the first of a tuple.
    """

    blocks: str
    num_blocks: int
    prelude: tuple[str, ...]
    postlude: tuple[str, ...]
    blocks_return_tuples: bool


def examine(model: PreTrainedModel) -> Anatomy:
    """Return where the blocks of a model are and what runs around them.

    Raises:
        UnsupportedModelError: there is no list of blocks, or it does not run once, in order, with nothing in between.
    """
    path = _find_blocks(model)
    blocks: nn.ModuleList = model.get_submodule(path)
    order, returns_tuple = _watch(model, path)
    of_blocks = [f"{path}.{i}" for i in range(len(blocks))]
    first, end = order.index(of_blocks[0]) if of_blocks[0] in order else 0, order.index(of_blocks[-1]) + 1
    prelude, postlude = tuple(order[:first]), tuple(order[end:])
    if order[first:end] != of_blocks or set(prelude) & set(postlude):
        raise UnsupportedModelError(
            f"{type(model).__name__} cannot be split: its {len(blocks)} blocks ({path}) do not run once each, in order"
        )
    return Anatomy(
        blocks=path,
        num_blocks=len(blocks),
        prelude=prelude,
        postlude=postlude,
        blocks_return_tuples=returns_tuple,
    )


def _find_blocks(model: PreTrainedModel) -> str:
    """Return the path of the outermost module list that has as many entries as the model has blocks."""
    num_blocks: int = getattr(model.config, "num_hidden_layers", 0)
    path: str
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_blocks >= 2:
            return path
    raise UnsupportedModelError(
        f"{type(model).__name__} cannot be split: no list of {num_blocks} decoder blocks in it (at least 2 are needed)"
    )


def _watch(model: PreTrainedModel, path: str) -> tuple[list[str], bool]:
    """Run the model once; return the order in which blocks and the modules around them ran.

    Also returned is whether the blocks return tuples.
    """
    order: list[str] = []
    returns_tuple = False

    def note(name: str, output: object) -> None:
        nonlocal returns_tuple
        order.append(name)
        returns_tuple |= name.startswith(f"{path}.") and isinstance(output, tuple)

    watched = {f"{path}.{name}": block for name, block in model.get_submodule(path).named_children()}
    ancestors = ["", *(path[:i] for i, letter in enumerate(path) if letter == ".")]
    for ancestor in ancestors:
        for name, module in model.get_submodule(ancestor).named_children():
            around = f"{ancestor}.{name}".lstrip(".")
            if around != path and around not in ancestors:
                watched[around] = module
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in watched.items()
    ]
    try:
        with torch.no_grad():
            model(input_ids=probe_ids(model), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return order, returns_tuple


def probe_ids(model: PreTrainedModel) -> Tensor:
    """Return a few token ids, int32 [1, 8], that any model can take."""
    vocabulary: int = model.config.vocab_size
    return torch.arange(8, dtype=torch.int32, device=model.device)[None] % vocabulary


def exchange(module: nn.Module, others: Mapping[str, nn.Module]) -> nn.Module:
    """Return a shallow copy of a module in which the modules at some paths are others.

    Only modules on the way to those paths are copied; all weights, and all other modules, are shared.
    """
    clone = copy.copy(module)
    children: dict[str, nn.Module] = dict(vars(module)["_modules"])
    vars(clone)["_modules"] = children  # `copy` shares this dict, through which modules find their children
    below: dict[str, dict[str, nn.Module]] = {}
    for path, other in others.items():
        name, _, rest = path.partition(".")
        if rest:
            below.setdefault(name, {})[rest] = other
        else:
            children[name] = other
    for name, exchanged in below.items():
        children[name] = exchange(children[name], exchanged)
    return clone

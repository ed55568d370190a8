"""LoRA through PEFT, at one rank for the whole model or at a rank for each block.

An adapter is a plain mapping from PEFT's parameter names to float32 tensors at the full rank R: A is [R, d_in] and B
[d_out, R]. A client that trains a block at rank r works on the first r rows of A and columns of B, both called *rows*
here. They are put in place of the layers' own weights, so a change of rank injects nothing anew, and the scale stays
alpha / R for every row.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workloads.export import PEFT_PREFIX
from workloads.ranks import Dormant

Adapter = dict[str, Tensor]

_SLOT = "default"  # PEFT's name for the one adapter in a layer


class TargetError(ValueError):
    """The modules to adapt are not in the model, or not in every block."""


class LoraModel:
    """A base model with LoRA layers in its blocks, whose weights can be put in and taken out.

    Attributes:
        shapes: for each parameter of the adapter, its shape at full rank; in the model's order.
        dtype: of adapters: float32, also where the model is in bfloat16.

    Args:
        model: the base model; changed in place, its own weights frozen.
        targets: names of the linear modules to adapt, as PEFT takes them.
        rank: R.
        alpha: the scale is alpha / R.
        dropout: probability of dropout before A.
        dormant: whether rows above a block's rank are left out, `excluded`, or computed with, `frozen`.
        trains_a: whether A is among the parameters to train.

    Raises:
        TargetError: a target is not in the model, or a block has none.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        targets: Sequence[str],
        rank: int,
        alpha: float,
        dropout: float,
        dormant: Dormant = "excluded",
        trains_a: bool = True,
    ) -> None:
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=sorted(targets),
            task_type="CAUSAL_LM",
            fan_in_fan_out=any(_is_target(name, targets) for name, m in model.named_modules() if isinstance(m, Conv1D)),
        )
        self._device = model.device
        self.dtype = torch.promote_types(model.dtype, torch.float32)
        self._scale = alpha / rank
        self._dormant, self._trains_a = dormant, trains_a
        missing = [t for t in targets if not any(_is_target(name, [t]) for name, _ in model.named_modules())]
        if missing:
            raise TargetError(f"{type(model).__name__} has no modules named {', '.join(map(repr, missing))} to adapt")
        inject_adapter_in_model(config, model, adapter_name=_SLOT, low_cpu_mem_usage=True)
        self._slots: dict[str, nn.Module] = {}
        self._bases: dict[str, tuple[nn.Module, nn.Parameter]] = {}  # adapted layers, with the weights they came with
        self._delta: Mapping[str, Tensor] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name, layer in model.named_modules():
            if isinstance(layer, LoraLayer):
                base = layer.get_base_layer()
                self._bases[f"{PEFT_PREFIX}{name}"] = base, base.weight
                for kind, holders in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B)):
                    key = f"{PEFT_PREFIX}{name}.{kind}.weight"
                    self._slots[key] = holders[_SLOT]
                    self.shapes[key] = tuple(holders[_SLOT].weight.shape)
        adapted = {block_of(key) for key in self.shapes}
        if adapted != set(range(model.config.num_hidden_layers)):
            raise TargetError(f"every block needs a module to adapt; {sorted(targets)} are in blocks {sorted(adapted)}")

    def initial(self, seed: int) -> Adapter:
        """Return a new adapter: A uniform as in PEFT (Kaiming with a = sqrt 5: within ±1/sqrt(d_in)), B zero.

        Each A depends on the seed and its own name alone.
        """
        adapter = {}
        for key, shape in self.shapes.items():
            values = torch.zeros(shape)
            if _rank_axis(key) == 0:
                digest = hashlib.sha256(f"{seed} {key}".encode()).digest()
                draws = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
                nn.init.kaiming_uniform_(values, a=math.sqrt(5), generator=draws)
            adapter[key] = values.to(self._device, self.dtype)
        return adapter

    def put(self, adapter: Mapping[str, Tensor], ranks: Sequence[int] | None = None) -> dict[str, nn.Parameter]:
        """Let the model work with copies of an adapter's rows; return those to train, as parameters.

        Args:
            adapter: at full rank.
            ranks: rows to train in each block; None for all.
        """
        parameters = {}
        for key, slot in self._slots.items():
            rank = self.shapes[key][_rank_axis(key)] if ranks is None else ranks[block_of(key)]
            held = adapter[key] if self._dormant == "frozen" else rows(adapter[key], key, rank)
            is_trained = self._trains_a or not is_a(key)
            weight = nn.Parameter(held.clone(memory_format=torch.contiguous_format), requires_grad=is_trained)
            slot.weight = weight
            if is_trained:
                parameters[key] = _first_rows(weight, key, rank)
        return parameters

    def shift_base(self, delta: Mapping[str, Tensor]) -> None:
        """Let the adapted layers work with their own weights plus scale · delta, summed in the adapters' dtype.

        An empty delta brings their own weights back, to the bit: these are set aside and never written to. The sum is
        made once for each delta and shared by all clients.

        Args:
            delta: by the name of the layer (`layer_of`), [d_out, d_in]; never changed afterwards.
        """
        if delta is self._delta or (not delta and not self._delta):
            return
        for name, (layer, own) in self._bases.items():
            layer.weight = own
            if name in delta:
                added = delta[name].T if isinstance(layer, Conv1D) else delta[name]
                summed = torch.add(own.detach().to(self.dtype), added, alpha=self._scale).to(own.dtype)
                layer.weight = nn.Parameter(summed, requires_grad=False)
        self._delta = delta


def block_of(key: str) -> int:
    """Return the index of the block, from 0, that a parameter of an adapter belongs to."""
    match = re.search(r"\.(\d+)\.", key)  # the list of blocks is the outermost list in the model
    if match is None:
        raise TargetError(f"{key} is in no block; only modules in blocks can be adapted")
    return int(match[1])


def layer_of(key: str) -> str:
    """Return the name of the adapted layer that a parameter of an adapter belongs to, as its keys begin."""
    return re.sub(r"\.lora_[AB]\.weight$", "", key)


def is_a(key: str) -> bool:
    """Return whether a parameter of an adapter is an A, not a B."""
    return ".lora_A." in key


def slot_path(key: str) -> str:
    """Return the path in the model of the module that holds a parameter of an adapter."""
    return f"{key.removeprefix(PEFT_PREFIX).removesuffix('.weight')}.{_SLOT}"


def b_of(key: str) -> str:
    """Return the key of the B that goes with an A."""
    return key.replace(".lora_A.", ".lora_B.")


def rows(values: Tensor, key: str, end: int, start: int = 0) -> Tensor:
    """Return the rows start..end of one parameter, as a view: rows of an A, columns of a B."""
    return values.narrow(_rank_axis(key), start, end - start)


def rank_of(values: Tensor, key: str) -> int:
    """Return how many rows one parameter has."""
    return values.shape[_rank_axis(key)]


def dormant_rows(values: Tensor, key: str, rank: int) -> Tensor:
    """Return the rows above a rank of one parameter, as a view."""
    return rows(values, key, rank_of(values, key), start=rank)


def trained_rows(values: Tensor, key: str, like: Tensor) -> Tensor:
    """Return a copy of as many first rows of a parameter as `like` has."""
    return rows(values, key, like.shape[_rank_axis(key)]).clone(memory_format=torch.contiguous_format)


def with_rows(values: Tensor, key: str, trained: Tensor) -> Tensor:
    """Return a parameter at full rank whose first rows are those given: a copy, unless these are all."""
    if trained.shape == values.shape:
        return trained
    merged = values.clone()
    rows(merged, key, trained.shape[_rank_axis(key)]).copy_(trained)
    return merged


def _rank_axis(key: str) -> int:
    return 0 if is_a(key) else 1


def _first_rows(weight: nn.Parameter, key: str, rank: int) -> nn.Parameter:
    """Return the first rows as a parameter in the same memory, which takes over their gradient after each backward."""
    if weight.shape[_rank_axis(key)] == rank:
        return weight
    first = nn.Parameter(rows(weight.detach(), key, rank))

    def hand_over(whole: Tensor) -> None:
        assert whole.grad is not None
        first.grad, whole.grad = rows(whole.grad, key, rank), None

    weight.register_post_accumulate_grad_hook(hand_over)  # type: ignore[no-untyped-call]
    return first


def _is_target(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)

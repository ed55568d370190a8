"""Which clients of a round are trained together, by an executor that can.

Who is trained together changes the last bits of a result: kernels sum in an order that depends on the size of a batch.
So a task holds the name of its group, and a group is trained as a whole or not at all.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

from workloads.activations import activation_bytes
from workloads.counts import ADAPTER_BYTES, adapter_parameters, client_part, logits_bytes
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape
from workloads.tasks import TrainTask

# What a group may take besides the base model, and on a processor the tokens beyond which it hardly gets faster.
# Constants, and not what is free just now, so that the same scenario always has the same groups.
GROUP_BYTES = {"cpu": 2**30, "cuda": 8 * 2**30}
MAX_CPU_TOKENS = 2048

_TENSORS_OF_ADAPTER = 6  # weight, gradient, two moments, and two temporaries of the optimizer's update


def max_group_tokens(
    shape: ModelShape, lora: LoraSpec, *, dtype: str, batch_size: int, length_tokens: int, device: str
) -> int:
    """Return how many padded tokens the clients that are trained together may have in a step.

    Args:
        shape: of the model.
        lora: its adapters.
        dtype: of model and activations.
        batch_size: samples of one client.
        length_tokens: of the longest.
        device: `cpu` or `cuda:0` (`workloads.machine.device_name`).
    """
    whole = client_part(shape, lora, shape.num_blocks)
    of_client = (
        activation_bytes(whole, batch_size, length_tokens, dtype)
        + logits_bytes(shape, batch_size, length_tokens)
        + _TENSORS_OF_ADAPTER * ADAPTER_BYTES * adapter_parameters(whole)
    )
    kind = device.partition(":")[0]
    tokens = GROUP_BYTES[kind] * batch_size * length_tokens // of_client
    return min(tokens, MAX_CPU_TOKENS) if kind == "cpu" else tokens


def grouped(tasks: Sequence[TrainTask], max_tokens: int) -> list[TrainTask]:
    """Return the tasks of a round, in their order, each with the name of its group.

    A group starts from the same adapter and takes equally many steps on batches of equally many samples. Its batches
    are padded to the longest of them, so tasks of similar lengths come together.

    Args:
        tasks: without groups.
        max_tokens: padded tokens that a group may have in a step; a task that alone has more is a group of its own.
    """
    different = list({task.key: task for task in tasks}.values())
    alike: dict[tuple[object, ...], list[TrainTask]] = {}
    for task in different:
        alike.setdefault((task.adapter, *(len(batch.lengths) for batch in task.batches)), []).append(task)
    names: dict[str, str] = {}
    for candidates in alike.values():
        for group in _cut_up(sorted(candidates, key=lambda task: -_tokens([task])), max_tokens):
            if len(group) > 1:
                keys = {task.key for task in group}
                name = _name([task for task in different if task.key in keys])
                names |= dict.fromkeys(keys, name)
    return [dataclasses.replace(task, group=names.get(task.key)) for task in tasks]


def groups_of(tasks: Sequence[TrainTask]) -> list[list[TrainTask]]:
    """Return the groups of a round; a task that occurs twice is in its group once.

    Raises:
        ValueError: a group is not whole.
    """
    by_name: dict[str, list[TrainTask]] = {}
    for task in {task.key: task for task in tasks}.values():
        by_name.setdefault(task.group or task.key, []).append(task)
    for name, group in by_name.items():
        if group[0].group is not None and _name([dataclasses.replace(task, group=None) for task in group]) != name:
            raise ValueError("a group of clients has to be trained as a whole, in its order")
    return list(by_name.values())


def _cut_up(tasks: Sequence[TrainTask], max_tokens: int) -> list[list[TrainTask]]:
    groups: list[list[TrainTask]] = []
    for task in tasks:
        if not groups or _tokens([*groups[-1], task]) > max_tokens:
            groups.append([])
        groups[-1].append(task)
    return groups


def _tokens(group: Sequence[TrainTask]) -> int:
    """Return the padded tokens of a group's largest step."""
    sizes = [[(len(batch.lengths), batch.length_tokens) for batch in task.batches] for task in group]
    of_steps: list[int] = [of_step[0][0] * max(n for _, n in of_step) for of_step in zip(*sizes, strict=True)]
    return len(group) * max(of_steps)


def _name(tasks: Sequence[TrainTask]) -> str:
    return hashlib.sha256("".join(task.key for task in tasks).encode()).hexdigest()

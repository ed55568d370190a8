"""Measured times of blocks as a device file states them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from devices.measured_blocks import MeasuredBlock
from devices.problems import Problem
from devices.strict_yaml import Document
from devices.units import s_from_ms
from devices.values import STRICT, Above, Stated

KEY = "measured_blocks"

Size = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MeasuredBlockStated(Stated):
    """Keys of one table, times in milliseconds."""

    hidden_size: Size
    linear_weights: Size
    dtype: Literal["float32", "float16", "bfloat16"]
    num_tokens: Annotated[tuple[Size, ...], Field(min_length=2)]
    forward_ms: tuple[Above, ...]
    backward_ms: tuple[Above, ...]


def measured_blocks(stated: Sequence[MeasuredBlockStated]) -> tuple[MeasuredBlock, ...]:
    """Return the tables in base units."""
    return tuple(
        MeasuredBlock(
            hidden_size=table.hidden_size,
            num_linear_weights=table.linear_weights,
            dtype=table.dtype,
            num_tokens=table.num_tokens,
            forward_s=tuple(s_from_ms(ms) for ms in table.forward_ms),
            backward_s=tuple(s_from_ms(ms) for ms in table.backward_ms),
        )
        for table in stated
    )


def measured_problems(stated: Sequence[MeasuredBlockStated], document: Document) -> list[Problem]:
    """Return what is wrong with tables that are well formed: columns that do not match, tables of the same block."""
    problems = []
    seen: dict[tuple[int, int, str], int] = {}
    for place, table in enumerate(stated):
        if any(more <= fewer for fewer, more in pairwise(table.num_tokens)):
            message = "must rise from one measurement to the next"
            problems.append(document.problem(message, (KEY, place, "num_tokens"), table.num_tokens))
        for name in ("forward_ms", "backward_ms"):
            column = getattr(table, name)
            if len(column) != len(table.num_tokens):
                message = f"expected {len(table.num_tokens)} times, one for each of num_tokens, got {len(column)}"
                problems.append(document.problem(message, (KEY, place, name), column))
        block = (table.hidden_size, table.linear_weights, table.dtype)
        if block in seen:
            message = f"the same hidden_size, linear_weights and dtype as in {KEY}.{seen[block]}"
            problems.append(document.problem(message, (KEY, place), None))
        seen.setdefault(block, place)
    return problems

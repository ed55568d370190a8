"""How a scenario names the user's own code where it could name a kind: FILE.py:NAME, or MODULE:NAME."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from simulator.sections.fields import matching
from workloads.aggregators import Aggregator

OWN_CODE = r"(?:[^:]+\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*"
OWN_KIND = "FILE.py:NAME or MODULE:NAME"
"""How messages call a kind that is the user's own code."""

CodeName = Annotated[str, matching(OWN_CODE, f"own code as {OWN_KIND}")]
Settings = Mapping[str, bool | int | float | str]
"""What a scenario hands to the user's own code."""


def kind_of(value: Any) -> str | None:
    """Return which member of a union is meant by a section's data or by a section, where own code is one of them."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    if kind is None:
        return None
    return OWN_KIND if ":" in str(kind) else str(kind)


Rule = Annotated[
    Annotated[Aggregator, Tag("rule")] | Annotated[CodeName, Tag(OWN_KIND)],
    Discriminator(lambda value: OWN_KIND if ":" in str(value) else "rule"),
]
"""A rule of aggregation."""

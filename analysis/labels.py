"""Labels of settings: of sections of a scenario no more than tells them apart."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from analysis.study_frame import labels_of
from simulator.vary import split_outside


def short_labels_of(frame: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Return for each case what tells its setting from others, as `labels_of` does but as short as may be."""
    short = pd.DataFrame(index=frame.index)
    for key in by:
        texts = labels_of(frame, [key])
        values = list(texts.unique())
        short[key] = texts.map(dict(zip(values, short_labels(values), strict=True)))
    return labels_of(short, by)


def short_labels(texts: Sequence[str]) -> list[str]:
    """Return labels for the values of a key: of a section its kind, and what it has unlike others of its kind.

    Args:
        texts: values as tables show them, each once; a section as `{kind: fixed, cut: 2}`.
    """
    sections = [_section(text) for text in texts]
    told = _telling_keys([section for section in sections if section])
    keys = iter(told)
    short = [_label(section, next(keys)) if section else text for text, section in zip(texts, sections, strict=True)]
    return short if len(set(short)) == len(texts) else list(texts)


def _telling_keys(sections: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """Return for each section the keys that tell it from others: the kind, and of equal kinds what differs."""
    return [[key for key in one if tells(key, one, sections)] for one in sections]


def tells(key: str, one: Mapping[str, str], others: Iterable[Mapping[str, str]]) -> bool:
    """Return whether a key, dotted or not, tells one from others in which its section has the same kind.

    The kind itself tells it from others of another kind.
    """
    section, dot, _ = key.rpartition(".")
    kind = f"{section}{dot}kind"
    return any(other.get(key) != one[key] and (key == kind or other.get(kind) == one.get(kind)) for other in others)


def _label(section: Mapping[str, str], keys: Sequence[str]) -> str:
    shown = [key for key in section if key in keys or key == "kind"] or list(section)
    return ", ".join(section[key] if key == "kind" else f"{key}: {section[key]}" for key in shown)


def _section(text: str) -> dict[str, str]:
    """Return the keys of a section and their values; nothing for another value."""
    if not (text.startswith("{") and text.endswith("}")):
        return {}
    parts = [part.partition(": ") for part in split_outside(text[1:-1])]
    return {key: value for key, _, value in parts}

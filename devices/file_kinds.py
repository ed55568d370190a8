"""Which kind of file a user has named, where another one was meant: said once, not key by key."""

from collections.abc import Mapping
from typing import Literal

from devices.problems import InputError, Problem
from devices.strict_yaml import Document

Kind = Literal["scenario", "study", "profile"]

PROFILES = ("device", "network", "fleet", "availability")  # as files say it: `type: device`
COMMANDS: Mapping[Kind, str] = {"scenario": "run", "study": "sweep", "profile": "devices check"}


def refuse_other(document: Document, meant: Kind) -> None:
    """Raise InputError where a file is of another kind than was meant; what it may be instead is said with it."""
    kind, word = _kind(document)
    if kind is None or kind == meant:
        return
    message = f"this is a {word}, not a {meant}: splitft {COMMANDS[kind]} {document.file}"
    if (kind, meant) == ("scenario", "study"):
        message += f"; to vary it: splitft sweep --base {document.file} --vary KEY=A,B"
    raise InputError(Problem(message, document.file))


def _kind(document: Document) -> tuple[Kind | None, str]:
    """Return what a file is, by the keys that only such files have, and the word for it; None where that is open."""
    data = document.data
    stated = data.get("type")
    if stated in PROFILES:
        return "profile", f"{stated} file"
    if {"tier", "accelerator"} <= data.keys():
        return "profile", "device file"
    if ("base" in data) != ("fleet" in data):
        return ("study", "study") if "base" in data else ("scenario", "scenario")
    return None, ""

"""Profiles by id: the shipped files, and the user's own beside or in place of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from devices.availability import AvailabilityProfile
from devices.availability_file import availability_profile
from devices.device_file import device_profile
from devices.fleet_file import fleet_mixture
from devices.fleets import FleetMixture
from devices.network_file import network_profile
from devices.networks import NetworkProfile
from devices.problems import InputError, Problem, did_you_mean, shown
from devices.profiles import DeviceProfile
from devices.strict_yaml import Document, read_document
from devices.values import check_id

SHIPPED = Path(__file__).parent

# For each folder of the catalogue: what its files state, and how they become profiles.
TYPES = {"devices": "device", "networks": "network", "fleets": "fleet", "availability": "availability"}
PROFILES: Mapping[str, Callable[[Document, str], Any]] = {
    "devices": device_profile,
    "networks": network_profile,
    "fleets": fleet_mixture,
    "availability": availability_profile,
}
LISTED = ("devices", "networks", "fleets")  # by a command
HAS_TYPE = re.compile(rf"^type\s*:\s*['\"]?({'|'.join(TYPES.values())})\b", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Shadowed:
    """A shipped entry that a file of the user's replaces; `kind` says what it is, such as `device`."""

    kind: str
    id: str
    file: Path


class Catalogue:
    """Devices, networks, fleets and availability profiles by id.

    A folder of the user's may have subfolders `devices`, `networks`, `fleets` and `availability`, and YAML files
    directly in it, which then say what they are with a line such as `type: device`; other files in it are left alone.
    A file gives its id with `id:`, or else its name without the ending is the id.

    Args:
        extra: Folders of the user's.

    Attributes:
        shadowed: The shipped entries that files of the user's replace.

    Raises:
        InputError: A folder does not exist, a file of the user's cannot be read, says that it is something else than
            its folder, or has an id that another one has.
    """

    shadowed: tuple[Shadowed, ...]

    def __init__(self, extra: Sequence[Path] = ()) -> None:
        self._profiles: dict[tuple[str, str], Any] = {}
        self._files = {kind: {path.stem: path for path in sorted((SHIPPED / kind).glob("*.yaml"))} for kind in TYPES}
        own = _own_documents(extra)
        self._documents = own
        self.shadowed = tuple(
            Shadowed(kind=TYPES[kind], id=name, file=Path(document.file))
            for (kind, name), document in own.items()
            if name in self._files[kind]
        )
        self._extended = bool(extra)

    def ids(self, kind: str) -> tuple[str, ...]:
        """Return the ids of a kind (`devices`, `networks`, `fleets`, `availability`), sorted."""
        return tuple(sorted({*self._files[kind], *(name for owner, name in self._documents if owner == kind)}))

    def device(self, name: str) -> DeviceProfile:
        """Return a device.

        Raises:
            InputError: There is none of this id, or its file breaks the rules.
        """
        profile: DeviceProfile = self._profile("devices", name)
        return profile

    def network(self, name: str) -> NetworkProfile:
        """Return a network, which may be unusable.

        Raises:
            InputError: There is none of this id, or its file breaks the rules.
        """
        profile: NetworkProfile = self._profile("networks", name)
        return profile

    def fleet(self, name: str) -> FleetMixture:
        """Return a fleet mixture, which may be unusable.

        Raises:
            InputError: There is none of this id, or its file breaks the rules.
        """
        profile: FleetMixture = self._profile("fleets", name)
        return profile

    def availability(self, name: str) -> AvailabilityProfile:
        """Return an availability profile.

        Raises:
            InputError: There is none of this id, or its file breaks the rules.
        """
        profile: AvailabilityProfile = self._profile("availability", name)
        return profile

    def is_own(self, kind: str, name: str) -> bool:
        """Return whether a profile is the user's."""
        return (kind, name) in self._documents

    def file(self, kind: str, name: str) -> Path:
        """Return the file that states a profile.

        Raises:
            InputError: There is none of this id.
        """
        if (kind, name) in self._documents:
            return Path(self._documents[kind, name].file)
        if name in self._files[kind]:
            return self._files[kind][name]
        word = TYPES[kind]
        message = f"unknown {word} '{name}'"
        if (file := _in_working_folder(kind, name)) is not None:
            raise InputError(Problem(f"{message}: {file} states it, and counts with --catalogue .", value=name))
        message += did_you_mean(name, self.ids(kind))
        if self._extended:
            message += f" (a file of yours counts if it is in a folder '{kind}' or has the line 'type: {word}')"
        elif kind in LISTED:
            message += f" (splitft {kind} list has all)"
        raise InputError(Problem(message, value=name))

    def _profile(self, kind: str, name: str) -> Any:
        key = (kind, name)
        if key not in self._profiles:
            path, own = self.file(kind, name), self._documents.get(key)
            self._profiles[key] = _shipped(kind, name, path) if own is None else PROFILES[kind](own, name)
        return self._profiles[key]


@cache
def _shipped(kind: str, name: str, path: Path) -> Any:
    """Return a profile of the package, read once by a process: a study asks for it in every case."""
    return PROFILES[kind](read_document(path), name)


def identity(document: Document, path: Path) -> tuple[str, str]:
    """Return the kind of profile that a file states, such as `devices`, and its id.

    Raises:
        InputError: The file does not say what it is, its folder says otherwise, or its id is not well formed.
    """
    kinds = {word: kind for kind, word in TYPES.items()}
    folder = path.parent.name if path.parent.name in TYPES else None
    stated = document.data.get("type", TYPES.get(folder or ""))
    if stated is None:
        message = "this file does not say what it states; add the line 'type: device' (or network, fleet, availability)"
        raise InputError(Problem(message, document.file))
    kind = kinds.get(str(stated))
    if kind is None or folder not in {None, kind}:
        allowed = TYPES[folder] if folder else f"{', '.join(kinds)}{did_you_mean(str(stated), kinds)}"
        raise InputError(document.problem(f"unknown type {shown(stated)}; allowed here: {allowed}", ("type",), stated))
    name = document.data.get("id", path.stem)
    try:
        return kind, check_id(str(name))
    except ValueError as error:
        raise InputError(document.problem(str(error), ("id",), name)) from None


def _own_documents(folders: Sequence[Path]) -> dict[tuple[str, str], Document]:
    """Return the files of the user's by kind and id."""
    problems: list[Problem] = []
    documents: dict[tuple[str, str], Document] = {}
    for path in _own_files(folders, problems):
        try:
            document = read_document(path)
            key = identity(document, path)
        except InputError as error:
            problems.extend(error.problems)
            continue
        if key in documents:
            message = f"{TYPES[key[0]]} '{key[1]}' is also in {documents[key].file}"
            problems.append(document.problem(message, ("id",), key[1]))
        documents[key] = document
    if problems:
        raise InputError(*problems)
    return documents


def _in_working_folder(kind: str, name: str) -> Path | None:
    """Return a file that states a profile, and would be found if its folder, the working folder, were named."""
    for path in _own_files([Path()], []):
        with suppress(InputError):  # files that nobody has asked for may be as they like
            if identity(read_document(path), path) == (kind, name):
                return path
    return None


def _own_files(folders: Sequence[Path], problems: list[Problem]) -> list[Path]:
    """Return each file that states a profile once, in the order of folders and names."""
    files: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            problems.append(Problem("there is no such folder", str(folder)))
            continue
        inside = [path for kind in TYPES for path in _yaml_files(folder / kind)]
        beside = [path for path in _yaml_files(folder) if _states_a_profile(path)]
        for path in inside + beside:
            files.setdefault(path.resolve(), path)
    return list(files.values())


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(path for ending in ("*.yaml", "*.yml") for path in folder.glob(ending))


def _states_a_profile(path: Path) -> bool:
    """Return whether a file has the line that makes it an entry of a catalogue; a scenario beside it has none."""
    try:
        return HAS_TYPE.search(path.read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:
        return False

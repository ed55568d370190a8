"""Files that users write: a template to start from, and a check."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from devices.availability import AvailabilityProfile
from devices.catalogue.lookup import PROFILES, SHIPPED, TYPES, Catalogue, identity
from devices.file_kinds import refuse_other
from devices.fleets import FleetMixture, members
from devices.networks import NetworkProfile
from devices.problems import Findings, InputError, Problem, did_you_mean
from devices.profiles import DeviceProfile
from devices.strict_yaml import read_document
from devices.values import own_id

Profile = DeviceProfile | NetworkProfile | FleetMixture | AvailabilityProfile

PLACEHOLDER = "name-it"


def template(kind: str, name: str, *, others: Sequence[str] = ()) -> str:
    """Return a commented YAML file to fill in, valid as it stands, for a `device`, `network` or `fleet`.

    Args:
        kind: What to write.
        name: Its id.
        others: Further kinds that the caller has templates of, for the error message.

    Raises:
        InputError: There is no template of this kind, or the name is no id.
    """
    templates = {path.stem: path for path in (SHIPPED / "templates").glob("*.yaml")}
    if kind not in templates:
        kinds = [*others, *sorted(templates)]
        allowed = f"{', '.join(kinds)}{did_you_mean(kind, kinds)}"
        raise InputError(Problem(f"no template for '{kind}'; allowed: {allowed}", value=kind))
    return templates[kind].read_text(encoding="utf-8").replace(PLACEHOLDER, own_id(name))


def check_file(path: Path) -> Profile:
    """Return what a file of the user's states, after everything that its use would check.

    The members of a fleet, and its availability profile, may be shipped, or beside it.

    Raises:
        InputError: The file cannot be used; everything that is wrong with it is told.
    """
    document = read_document(path)
    refuse_other(document, "profile")
    kind, name = identity(document, path)
    profile: Profile = PROFILES[kind](document, name)
    try:
        if isinstance(profile, NetworkProfile):
            profile.spreads()
        if isinstance(profile, FleetMixture):
            _check_parts(profile, Catalogue([path.parent.parent if path.parent.name in TYPES else path.parent]))
    except InputError as error:
        raise InputError(
            *(problem if problem.file else document.located(problem) for problem in error.problems)
        ) from None
    return profile


def word_of(profile: Profile) -> str:
    """Return what a profile is, in the word that files say it with."""
    words = {DeviceProfile: "device", NetworkProfile: "network", FleetMixture: "fleet"}
    return words.get(type(profile), "availability")


def _check_parts(mixture: FleetMixture, catalogue: Catalogue) -> None:
    """Look up everything that a mixture names.

    Raises:
        InputError: Something is not there or cannot be used; all of it is told, with keys of the mixture's file.
    """
    found = Findings()
    found.find(lambda: members(mixture, catalogue))
    found.find(lambda: _availability(mixture, catalogue))
    found.tell()


def _availability(mixture: FleetMixture, catalogue: Catalogue) -> AvailabilityProfile:
    try:
        return catalogue.availability(mixture.availability)
    except InputError as error:
        raise InputError(*(p if p.file else replace(p, key="availability") for p in error.problems)) from None

"""A fleet mixture as its YAML file states it."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from devices.defaults import defaults
from devices.fleets import DeviceShare, FleetMixture, RouteShare, Throttle
from devices.problems import InputError, Problem
from devices.strict_yaml import Document, validate
from devices.values import (
    MOST,
    STRICT,
    Above,
    Id,
    Kind,
    LnMean,
    LnSigma,
    NonNegative,
    Share,
    Stated,
    origin_of,
    value_of,
)

SUM_TOLERANCE = 1e-6
NO_DEVICES = (
    "its compute is given as seconds per sample of a model that its source does not name, not as devices; "
    "choose devices for it in a copy of its file"
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DeviceShareStated:
    """A device and its share of the clients."""

    device: Id
    weight: Share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RouteShareStated:
    """A network, the network that it is reached through, and their share of the clients."""

    network: Id
    via: Id | None = None
    weight: Share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ThrottleStated(Stated):
    """How devices slow down with heat."""

    after_s: Annotated[float, Field(ge=0, le=MOST)]
    mean_frac: Share
    low_frac: Share
    high_frac: Share

    def __post_init__(self) -> None:
        """Refuse a mean that is outside of its range, and a range that is upside down.

        Raises:
            ValueError: The shares do not rise from `low_frac` over `mean_frac` to `high_frac`.
        """
        if not self.low_frac <= self.mean_frac <= self.high_frac:
            shares = f"{self.low_frac:g}, {self.mean_frac:g}, {self.high_frac:g}"
            msg = f"low_frac, mean_frac and high_frac must not decrease, got {shares}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ParametricCompute(Stated):
    """Seconds per sample in place of devices: `scale` times a log-normal, times `train_multiplier` for training."""

    ln_mu: LnMean
    ln_sigma: LnSigma
    scale: Above
    train_multiplier: Above


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FleetFile:
    """Keys of a fleet file; `kind` and `source` are those of the weights."""

    type: Literal["fleet"] = "fleet"
    id: Id | None = None
    label: str | None = None
    kind: Kind = "user"
    source: str | None = None
    notes: str = ""
    devices: tuple[DeviceShareStated, ...] | None = None
    networks: tuple[RouteShareStated, ...]
    availability: Id = "always-on"
    compute_jitter_ln_sigma: NonNegative | None = None
    throttle: ThrottleStated | None = None
    parametric_compute: ParametricCompute | None = None


def fleet_mixture(document: Document, name: str) -> FleetMixture:
    """Return the mixture that a fleet file states. Its members are not looked up here.

    Args:
        document: The file.
        name: Id of the fleet where the file gives none.

    Raises:
        InputError: The file breaks the rules, a mixture is empty or its weights do not sum to 1; all of them are told.
    """
    stated = validate(FleetFile, document)
    devices = stated.devices or ()
    problems = _weight_problems(document, "networks", stated.networks)
    if stated.parametric_compute is None or devices:
        problems += _weight_problems(document, "devices", devices)
    if problems:
        raise InputError(*problems)
    given = stated.compute_jitter_ln_sigma
    jitter = defaults().fleets.compute_jitter_ln_sigma if given is None else given
    origins = {"weights": origin_of(Stated(kind=stated.kind, source=stated.source), None, document.file)}
    origins["compute_jitter_ln_sigma"] = origin_of(jitter, stated.source, document.file)
    if stated.throttle is not None:
        origins["throttle"] = origin_of(stated.throttle, stated.source, document.file)
    identity = stated.id or name
    return FleetMixture(
        id=identity,
        label=stated.label or identity,
        devices=tuple(DeviceShare(device=share.device, weight=share.weight) for share in devices),
        networks=tuple(
            RouteShare(network=share.network, via=share.via, weight=share.weight) for share in stated.networks
        ),
        availability=stated.availability,
        compute_jitter_ln_sigma=value_of(jitter),
        throttle=_throttle(stated.throttle),
        unusable=None if devices else NO_DEVICES,
        notes=stated.notes,
        provenance=origins,
    )


def _weight_problems(
    document: Document, key: str, shares: Sequence[DeviceShareStated | RouteShareStated]
) -> list[Problem]:
    if not shares:
        return [document.problem("a fleet needs at least one entry here", (key,))]
    total = sum(share.weight for share in shares)
    if abs(total - 1) > SUM_TOLERANCE:
        return [document.problem(f"the weights must sum to 1, not {total:.9g}", (key,), total)]
    return []


def _throttle(stated: ThrottleStated | None) -> Throttle | None:
    if stated is None:
        return None
    return Throttle(
        after_s=stated.after_s, mean_frac=stated.mean_frac, low_frac=stated.low_frac, high_frac=stated.high_frac
    )

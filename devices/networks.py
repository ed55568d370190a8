"""What a network connection offers: spreads of rates and round-trip times over the clients that have it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from devices.problems import InputError, Problem
from devices.profiles import Provenance

Floats = NDArray[np.float64]
Rates = tuple[Floats, Floats, Floats]
"""Downlink and uplink in bytes/s and one-way latency in s, one of each per client."""

Z_90 = 1.2815515655446004
"""The standard normal's 90 % quantile."""

RATE_STEPS = 1.0
"""Drawn rates are whole bytes per second."""

TIME_STEPS_PER_S = 1e9
"""Drawn round-trip times are whole nanoseconds."""

NUM_DRAWS = 4
"""Uniform numbers from which one client's downlink, uplink and round-trip time are made."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A positive quantity that differs from client to client: log-normal on each side of its median.

    With z standard normal, the value is median * exp(sigma * z), where sigma is `sigma_low` below the median and
    `sigma_high` above. So 10 %, 50 % and 90 % quantiles are met exactly, ln(value) is linear in z between them, and the
    tails beyond are log-normal. Equal sigmas are a log-normal; both 0 a constant.
    """

    median: float
    sigma_low: float
    sigma_high: float

    @classmethod
    def constant(cls, value: float) -> Self:
        """Return the spread of a quantity that is the same for all clients."""
        return cls(median=value, sigma_low=0.0, sigma_high=0.0)

    @classmethod
    def lognormal(cls, median: float, sigma: float) -> Self:
        """Return a log-normal by its median and the standard deviation of its logarithm."""
        return cls(median=median, sigma_low=sigma, sigma_high=sigma)

    @classmethod
    def quantiles(cls, p10: float, p50: float, p90: float) -> Self:
        """Return the spread that has these 10 %, 50 % and 90 % quantiles."""
        return cls(median=p50, sigma_low=math.log(p50 / p10) / Z_90, sigma_high=math.log(p90 / p50) / Z_90)

    def at(self, z: Floats, steps_per_unit: float) -> Floats:
        """Return the values at standard normal z; what is not constant is rounded to whole steps, at least one.

        Rounding keeps the last bit of exp, which differs between processors, away from the simulated clock.
        """
        if self.sigma_low == 0.0 == self.sigma_high:
            return np.full(z.shape, self.median)
        values = self.median * np.exp(np.where(z < 0, self.sigma_low, self.sigma_high) * z)
        return np.maximum(np.rint(values * steps_per_unit), 1.0) / steps_per_unit


@dataclass(frozen=True, kw_only=True)
class NetworkProfile:
    """One kind of connection, between a client and the server's side of the internet.

    Attributes:
        id: The catalogue's name of the network.
        label: Free text.
        confidence: `high`, `medium`, `low` or `not stated`.
        downlink_bytes_per_s: Rate towards the client; None where the source does not say.
        uplink_bytes_per_s: Rate from the client; None where the source does not say.
        rtt_s: Round-trip time; None where the source does not say.
        downlink_uplink_correlation: Correlation of the two rates over clients, on the scale of their normal scores.
        within_session_cv: Coefficient of variation of one client's rate within a session; None where it is not known.
        notes: Free text of the catalogue.
        provenance: Origin of each number, by field; a median that is stated alone has its own (`rtt_s.median`), and the
            field that of the spread assumed around it.
    """

    id: str
    label: str
    confidence: str
    downlink_bytes_per_s: Spread | None
    uplink_bytes_per_s: Spread | None
    rtt_s: Spread | None
    downlink_uplink_correlation: float
    within_session_cv: float | None
    notes: str
    provenance: Mapping[str, Provenance] = field(hash=False)

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the YAML keys without which this network cannot be used."""
        stated = {
            "downlink_mbit_per_s": self.downlink_bytes_per_s,
            "uplink_mbit_per_s": self.uplink_bytes_per_s,
            "rtt_ms": self.rtt_s,
        }
        return tuple(key for key, spread in stated.items() if spread is None)

    @property
    def usable(self) -> bool:
        """Return whether downlink, uplink and round-trip time are all known."""
        return not self.missing

    def spreads(self) -> tuple[Spread, Spread, Spread]:
        """Return downlink (bytes/s), uplink (bytes/s) and round-trip time (s).

        Raises:
            InputError: One of them is not known; the message says which keys a file of the user's must add.
        """
        if self.downlink_bytes_per_s is None or self.uplink_bytes_per_s is None or self.rtt_s is None:
            verb = "is" if len(self.missing) == 1 else "are"
            message = (
                f"network '{self.id}' cannot be used: {' and '.join(self.missing)} {verb} not known; "
                "complete a copy of its file in a folder of yours, and name that folder with --catalogue"
            )
            raise InputError(Problem(message, value=self.id))
        return self.downlink_bytes_per_s, self.uplink_bytes_per_s, self.rtt_s

    def sample(self, rng: np.random.Generator, size: int) -> Rates:
        """Return downlink and uplink in bytes/s and one-way latency in s of `size` clients.

        Raises:
            InputError: As `spreads`.
        """
        return self.at(rng.random((size, NUM_DRAWS)))

    def at(self, uniform: Floats) -> Rates:
        """Return the rates and latency of clients with these draws.

        Args:
            uniform: Numbers in [0, 1), shape [clients, 4].

        Raises:
            InputError: As `spreads`.
        """
        downlink, uplink, rtt = self.spreads()
        z_downlink, z_independent = _normal_pair(uniform[:, 0], uniform[:, 1])
        z_rtt, _ = _normal_pair(uniform[:, 2], uniform[:, 3])
        rho = self.downlink_uplink_correlation  # Gaussian copula
        z_uplink = rho * z_downlink + math.sqrt(1.0 - rho * rho) * z_independent
        return (
            downlink.at(z_downlink, RATE_STEPS),
            uplink.at(z_uplink, RATE_STEPS),
            rtt.at(z_rtt, TIME_STEPS_PER_S) / 2,
        )

    def median(self) -> tuple[float, float, float]:
        """Return the median downlink and uplink in bytes/s and the median one-way latency in s.

        Raises:
            InputError: As `spreads`.
        """
        downlink, uplink, rtt = self.spreads()
        return downlink.median, uplink.median, rtt.median / 2


def _normal_pair(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return two independent standard normals from two uniforms in [0, 1) (Box and Muller 1958).

    A fixed number of uniforms makes each normal, so one client's draws never move another's.
    """
    radius, angle = np.sqrt(-2.0 * np.log1p(-first)), 2.0 * np.pi * second
    return radius * np.cos(angle), radius * np.sin(angle)


@dataclass(frozen=True, kw_only=True)
class Route:
    """How a client reaches the server: over one network, or over one and then another (home Wi-Fi and access)."""

    network: NetworkProfile
    via: NetworkProfile | None = None

    @property
    def id(self) -> str:
        """Return `network` or `network+via`."""
        return self.network.id if self.via is None else f"{self.network.id}+{self.via.id}"

    def at(self, uniform: Floats) -> Rates:
        """Return rates and latency of clients with these draws: the lower of the two rates, the sum of the latencies.

        Args:
            uniform: Numbers in [0, 1), shape [clients, 8]: four for each network.

        Raises:
            InputError: One of the networks cannot be used.
        """
        downlink, uplink, latency = self.network.at(uniform[:, :NUM_DRAWS])
        if self.via is None:
            return downlink, uplink, latency
        via_downlink, via_uplink, via_latency = self.via.at(uniform[:, NUM_DRAWS:])
        return np.minimum(downlink, via_downlink), np.minimum(uplink, via_uplink), latency + via_latency

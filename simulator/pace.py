"""Why a computation takes longer or shorter than modelled: variation from step to step, and heat.

The cost model gives the mean time of a cool device. Both effects are off unless a scenario asks for them, and then a
time is that of the model to the bit where they have nothing to say.
"""

import math
from dataclasses import dataclass, field

from scipy.special import betaincinv

from devices.fleets import Throttle
from simulator.draws import generator

# Shares of speed are Beta distributed between the least and the largest. Its mean is given; how far clients are spread
# is assumed: alpha + beta = 6, as in the PERT distribution (Malcolm et al. 1959).
_BETA_SUM = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """What a scenario says of it, with every number in place.

    Attributes:
        client_ln_sigma, server_ln_sigma: standard deviation of the logarithm of a computation's time.
        throttle: how clients slow down with heat; None where they do not.
    """

    client_ln_sigma: float = 0.0
    server_ln_sigma: float = 0.0
    throttle: Throttle | None = None

    def pace(self, seed: int) -> "Pace | None":
        """Return the pace of a run; None where everything takes as long as it is modelled."""
        is_on = self.client_ln_sigma > 0 or self.server_ln_sigma > 0 or self.throttle is not None
        return Pace(self, seed) if is_on else None


@dataclass(slots=True)
class _Heat:
    """A client's device: it is hot once it has computed for the throttle's time, and cools as fast as it heats.

    Attributes:
        frac: the share of its speed that it keeps when hot.
        heat_s: computing time not yet cooled off, at `at_s`.
    """

    frac: float
    heat_s: float = 0.0
    at_s: float = 0.0


@dataclass(slots=True)
class Pace:
    """How long computations of one run really take. It remembers how warm the devices are that have computed.

    Args:
        variation: what the scenario says.
        seed: of the fleet's draws.
    """

    variation: Variation
    seed: int
    _heats: dict[int, _Heat] = field(default_factory=dict)

    def client_s(self, kind: str, client: int, round: int, step: int, seconds: float, now_s: float) -> float:  # noqa: A002, PLR0917
        """Return how long a client computes from now on at what would take it `seconds`."""
        varied_s = seconds * self._factor(self.variation.client_ln_sigma, kind, client, round, step)
        return varied_s if self.variation.throttle is None else self._heated_s(client, varied_s, now_s)

    def server_s(self, kind: str, client: int, round: int, step: int, seconds: float) -> float:  # noqa: A002
        """Return how long the server computes for a client at what would take it `seconds`."""
        return seconds * self._factor(self.variation.server_ln_sigma, kind, client, round, step)

    def _factor(self, ln_sigma: float, kind: str, client: int, round: int, step: int) -> float:  # noqa: A002
        """Return a log-normal number of mean 1: exp(sigma z - sigma²/2).

        It belongs to (client, round, step, kind); computations outside the steps have one for each kind in a round.
        """
        if ln_sigma == 0:
            return 1.0
        draw = generator(self.seed, f"jitter {kind}", client=client, round=round, step=max(step, 0)).standard_normal()
        return math.exp(ln_sigma * draw - ln_sigma**2 / 2)

    def _heated_s(self, client: int, seconds: float, now_s: float) -> float:
        throttle = self.variation.throttle
        assert throttle is not None
        heat = self._heats.get(client)
        if heat is None:
            heat = self._heats[client] = _Heat(hot_frac(throttle, self.seed, client))
        # One that was stopped in the middle of a computation is as warm as if it had gone on until now.
        warm_s = max(0.0, heat.heat_s - max(0.0, now_s - heat.at_s))
        cool_s = throttle.after_s - warm_s
        taken_s = seconds if seconds <= cool_s else cool_s + (seconds - cool_s) / heat.frac
        heat.heat_s, heat.at_s = min(throttle.after_s, warm_s + taken_s), now_s + taken_s
        return taken_s


def hot_frac(throttle: Throttle, seed: int, client: int) -> float:
    """Return the share of its speed that a client's device keeps when it is hot."""
    width = throttle.high_frac - throttle.low_frac
    place = (throttle.mean_frac - throttle.low_frac) / width if width > 0 else 0.0
    if not 0 < place < 1:
        return throttle.mean_frac  # no room on one side of the mean: all clients are alike
    uniform = generator(seed, "throttle", client=client).random()
    return throttle.low_frac + width * float(betaincinv(_BETA_SUM * place, _BETA_SUM * (1 - place), uniform))

"""Why a computation takes longer or shorter than modelled: variation from step to step, and heat.

The cost model gives the mean time of a cool device. Both effects are off unless a scenario asks for them, and then a
time is that of the model to the bit where they have nothing to say.
"""

import math
from dataclasses import dataclass, field, replace

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
class Heat:
    """How warm a client's device is: hot once it has computed for the throttle's time; it cools as fast as it heats.

    Attributes:
        after_s: computing time until it is hot.
        frac: the share of its speed that it keeps then.
        warm_s: computing time that had not cooled off at `at_s`.
    """

    after_s: float
    frac: float
    warm_s: float = 0.0
    at_s: float = 0.0

    def computing_s(self, seconds: float, now_s: float) -> float:
        """Return how long the device computes from now on at what would take a cool one `seconds`, and warm it up."""
        # One that was stopped in the middle of a computation is as warm as if it had gone on until now.
        warm_s = max(0.0, self.warm_s - max(0.0, now_s - self.at_s))
        cool_s = self.after_s - warm_s
        taken_s = seconds if seconds <= cool_s else cool_s + (seconds - cool_s) / self.frac
        self.warm_s, self.at_s = min(self.after_s, warm_s + taken_s), now_s + taken_s
        return taken_s


@dataclass(slots=True)
class Pace:
    """How long computations of one run really take. Between rounds it remembers how warm devices are.

    Args:
        variation: what the scenario says.
        seed: of the fleet's draws.
    """

    variation: Variation
    seed: int
    _heats: dict[int, Heat] = field(default_factory=dict)

    def client_factor(self, kind: str, client: int, round: int, step: int) -> float:  # noqa: A002
        """Return the factor of a computation of a client."""
        return self._factor(self.variation.client_ln_sigma, kind, client, round, step)

    def server_factor(self, kind: str, client: int, round: int, step: int) -> float:  # noqa: A002
        """Return the factor of a computation of the server for a client."""
        return self._factor(self.variation.server_ln_sigma, kind, client, round, step)

    def heat(self, client: int) -> Heat | None:
        """Return how warm a client's device is at the start of a round, for that round; None where devices stay cool.

        What a round does to it counts from `keep` on.
        """
        throttle = self.variation.throttle
        if throttle is None:
            return None
        known = self._heats.get(client)
        return Heat(throttle.after_s, hot_frac(throttle, self.seed, client)) if known is None else replace(known)

    def keep(self, client: int, heat: Heat | None) -> None:
        """Remember how warm a client's device is at the end of a round."""
        if heat is not None:
            self._heats[client] = heat

    def _factor(self, ln_sigma: float, kind: str, client: int, round: int, step: int) -> float:  # noqa: A002
        """Return a log-normal number of mean 1: exp(sigma z - sigma²/2).

        It belongs to (client, round, step, kind); computations outside the steps have one for each kind in a round.
        """
        if ln_sigma == 0:
            return 1.0
        draw = generator(self.seed, f"jitter {kind}", client=client, round=round, step=max(step, 0)).standard_normal()
        return math.exp(ln_sigma * draw - ln_sigma**2 / 2)


def hot_frac(throttle: Throttle, seed: int, client: int) -> float:
    """Return the share of its speed that a client's device keeps when it is hot."""
    width = throttle.high_frac - throttle.low_frac
    place = (throttle.mean_frac - throttle.low_frac) / width if width > 0 else 0.0
    if not 0 < place < 1:
        return throttle.mean_frac  # no room on one side of the mean: all clients are alike
    uniform = generator(seed, "throttle", client=client).random()
    return throttle.low_frac + width * float(betaincinv(_BETA_SUM * place, _BETA_SUM * (1 - place), uniform))

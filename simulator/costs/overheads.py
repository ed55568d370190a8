"""How much of the computing time is an assumption: the overhead of a block where nobody has measured it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from devices.profiles import DeviceProfile
from simulator.costs.cost import ProfiledCosts
from simulator.costs.prediction import mean_padded_length
from simulator.costs.step_prediction import Computing, Step, computing
from simulator.setting import Setting, costs_of

FIELDS = ("block_overhead_forward_s", "block_overhead_backward_s")


@dataclass(frozen=True, kw_only=True, slots=True)
class AssumedOverhead:
    """The share that assumed overheads of blocks have in the computing time of a step, over all cuts that fit.

    Attributes:
        client_frac: by id of a device that some client has.
        server_frac: of the server's part; 0 where it has none.
    """

    client_frac: dict[str, float]
    server_frac: float

    def words(self) -> str:
        """Return it as a phrase."""
        if not self.client_frac:
            return "unknown: no client can hold a block"
        low, high = min(self.client_frac.values()), max(self.client_frac.values())
        clients = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}, by device,"
        return f"{clients} of the clients' computing and {self.server_frac:.0%} of the server's"


def assumed_overhead(setting: Setting) -> AssumedOverhead:
    """Return how much of the computing time of a step of the mean padded length is assumed overhead.

    It is what the step would take longer if that overhead were twice as long.
    """
    doubled_table = tuple(map(_doubled, setting.fleet.device_table))
    doubled_fleet = dataclasses.replace(setting.fleet, device_table=doubled_table)
    doubled = costs_of(setting.scenario, setting.models, doubled_fleet, _doubled(setting.server))
    length_tokens, client_frac = mean_padded_length(setting), {}
    for number, device in enumerate(setting.fleet.device_table):
        having = np.flatnonzero(setting.fleet.device_index == number)
        if len(having) and setting.max_cuts[number]:  # who cannot hold a block takes no part
            cuts = [cut for cut in setting.memory.cuts if cut <= setting.max_cuts[number]]
            steps, slower = (_steps(setting, costs, int(having[0]), cuts, length_tokens) for costs in (None, doubled))
            client_frac[device.id] = sum(s.client_s for s in slower) / sum(s.client_s for s in steps) - 1
    steps, slower = (_steps(setting, costs, 0, setting.memory.cuts, length_tokens) for costs in (None, doubled))
    server_s, slower_s = (sum(step.server_s for step in part) for part in (steps, slower))
    return AssumedOverhead(client_frac=client_frac, server_frac=slower_s / server_s - 1 if server_s else 0.0)


def _doubled(device: DeviceProfile) -> DeviceProfile:
    assumed = [field for field in FIELDS if (origin := device.provenance.get(field)) and origin.kind == "assumed"]
    return dataclasses.replace(device, **{field: 2 * getattr(device, field) for field in assumed})


def _steps(
    setting: Setting, costs: ProfiledCosts | None, client: int, cuts: Sequence[int], length_tokens: int
) -> list[Computing]:
    batch_size = setting.scenario.workload.batch_size
    return [
        computing(
            setting.scenario.protocol,
            costs or setting.costs,
            Step(client=client, cut=cut, batch_size=batch_size, length_tokens=length_tokens),
        )
        for cut in cuts
    ]

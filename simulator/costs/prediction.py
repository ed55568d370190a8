"""What a step would take at every cut, if nobody else were there: what `splitft check` shows before anything runs."""

from dataclasses import dataclass

import numpy as np

from simulator.costs.memory import PartMemory
from simulator.costs.step_prediction import Route, Step, StepPrediction, predicted_step
from simulator.participation.selection import largest_cohort
from simulator.setting import Setting


@dataclass(frozen=True, kw_only=True, slots=True)
class CutPrediction:
    """One cut, the same for every device.

    Attributes:
        cut: decoder blocks on the client, of the model that learns.
        priced_cut: of the model that the clock charges for.
        up_bytes, down_bytes: of one step.
        adapter_bytes: of what is sent down for the client part once a round, if every client has this cut.
        client_memory_bytes, server_memory_bytes: peak, on the longest batch; the server with a whole round at it.
        client_memory, server_memory: what that consists of.
    """

    cut: int
    priced_cut: int
    up_bytes: int
    down_bytes: int
    adapter_bytes: int
    client_memory_bytes: int
    server_memory_bytes: int
    client_memory: PartMemory
    server_memory: PartMemory


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicePrediction:
    """One device of the fleet.

    Attributes:
        device: its id.
        num_clients: clients that have it.
        memory_usable_bytes: of the device.
        max_cut: the deepest cut that fits.
        step_s: by cut from 1, seconds of a step on the median link of these clients, without waiting; None where the
            cut does not fit.
    """

    device: str
    num_clients: int
    memory_usable_bytes: int
    max_cut: int
    step_s: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Everything that can be said of a setting without running it, for one batch of the mean padded length."""

    length_tokens: int
    cuts: tuple[CutPrediction, ...]
    devices: tuple[DevicePrediction, ...]


def predict(setting: Setting) -> Prediction:
    """Return what each cut and each device comes to."""
    length_tokens = mean_padded_length(setting)
    num_having = np.bincount(setting.fleet.device_index, minlength=len(setting.fleet.device_table))
    return Prediction(
        length_tokens=length_tokens,
        cuts=_by_cut(setting, length_tokens),
        devices=tuple(
            _of_device(setting, number, length_tokens)
            for number, num_clients in enumerate(num_having)
            if num_clients  # the mixture may have devices that no client drew
        ),
    )


def _by_cut(setting: Setting, length_tokens: int) -> tuple[CutPrediction, ...]:
    route = _route(setting, int(setting.fleet.device_index[0]))
    num_at_once = largest_cohort(setting.scenario.selection, len(setting.fleet))
    steps_at_once = setting.serving.steps_at_once(num_at_once)
    rows = []
    for row in setting.memory.table(num_clients=num_at_once, steps_at_once=steps_at_once):
        step = _step(setting, 0, row.cut, length_tokens, route)
        stacked = setting.costs.stacked_ranks([row.cut] * num_at_once)
        rows.append(
            CutPrediction(
                cut=row.cut,
                priced_cut=setting.models.priced_cut(row.cut),
                up_bytes=step.up_bytes,
                down_bytes=step.down_bytes,
                adapter_bytes=setting.costs.round(0, row.cut, stacked).adapter_download_bytes,
                client_memory_bytes=row.client.total_bytes,
                server_memory_bytes=row.server.total_bytes,
                client_memory=row.client,
                server_memory=row.server,
            )
        )
    return tuple(rows)


def _of_device(setting: Setting, number: int, length_tokens: int) -> DevicePrediction:
    device, fits, cuts = setting.fleet.device_table[number], setting.max_cuts[number], setting.memory.cuts
    mine, route = setting.fleet.device_index == number, _route(setting, number)
    client = int(np.argmax(mine))
    return DevicePrediction(
        device=device.id,
        num_clients=int(mine.sum()),
        memory_usable_bytes=device.memory_usable_bytes,
        max_cut=fits,
        step_s=tuple(
            _step(setting, client, cut, length_tokens, route).step_s if cut in cuts and cut <= fits else None
            for cut in range(1, cuts.stop)
        ),
    )


def _route(setting: Setting, device_number: int) -> Route:
    """Return the median links of the clients with a device."""
    mine, links = setting.fleet.device_index == device_number, setting.server_links
    uplinks, downlinks = setting.connections.lone_rates(setting.fleet)
    return Route(
        uplink_bytes_per_s=min(float(np.median(uplinks[mine])), links.uplink_bytes_per_s),
        downlink_bytes_per_s=min(float(np.median(downlinks[mine])), links.downlink_bytes_per_s),
        latency_s=float(np.median(setting.fleet.latency_s[mine])) + links.latency_s,
    )


def _step(setting: Setting, client: int, cut: int, length_tokens: int, route: Route) -> StepPrediction:
    step = Step(client=client, cut=cut, batch_size=setting.scenario.workload.batch_size, length_tokens=length_tokens)
    return predicted_step(setting.scenario.protocol, setting.costs, step, route)


def mean_padded_length(setting: Setting) -> int:
    """Return the mean padded length of the batches of a first round, over at most 100 clients."""
    clients = range(min(len(setting.fleet), 100))
    return round(float(np.mean([b.length_tokens for k in clients for b in setting.data.padded_steps(k, 1)])))

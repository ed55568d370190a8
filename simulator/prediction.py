"""What a step would take at every cut, if nobody else were there: what `splitft check` shows before anything runs."""

from dataclasses import dataclass

import numpy as np

from simulator.cost import StepCosts
from simulator.memory import PartMemory
from simulator.seconds import transfer_s
from simulator.selection import largest_cohort
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
    num_cuts = setting.shape.num_blocks - 1
    first = [int(np.argmax(setting.fleet.device_index == number)) for number in range(len(setting.fleet.device_table))]
    batch_size = setting.scenario.workload.batch_size
    num_at_once = largest_cohort(setting.scenario.selection, len(setting.fleet))
    steps_at_once = setting.scenario.server.steps_at_once(num_at_once)
    cuts = []
    for row in setting.memory.table(num_clients=num_at_once, steps_at_once=steps_at_once):
        step = setting.costs.step(0, row.cut, batch_size, length_tokens)
        stacked = setting.costs.stacked_ranks([row.cut] * num_at_once)
        cuts.append(
            CutPrediction(
                cut=row.cut,
                priced_cut=setting.models.priced_cut(row.cut),
                up_bytes=step.activation_bytes + step.label_bytes,
                down_bytes=step.gradient_bytes,
                adapter_bytes=setting.costs.round(0, row.cut, stacked).adapter_download_bytes,
                client_memory_bytes=row.client.total_bytes,
                server_memory_bytes=row.server.total_bytes,
                client_memory=row.client,
                server_memory=row.server,
            )
        )
    devices = []
    num_having = np.bincount(setting.fleet.device_index, minlength=len(setting.fleet.device_table))
    for number, device in enumerate(setting.fleet.device_table):
        if not num_having[number]:
            continue  # the mixture has it, but no client drew it
        fits = setting.max_cuts[number]
        steps = [setting.costs.step(first[number], cut, batch_size, length_tokens) for cut in range(1, num_cuts + 1)]
        devices.append(
            DevicePrediction(
                device=device.id,
                num_clients=int(num_having[number]),
                memory_usable_bytes=device.memory_usable_bytes,
                max_cut=fits,
                step_s=tuple(
                    _path_s(setting, number, step) if cut <= fits else None for cut, step in enumerate(steps, start=1)
                ),
            )
        )
    return Prediction(length_tokens=length_tokens, cuts=tuple(cuts), devices=tuple(devices))


def mean_padded_length(setting: Setting) -> int:
    """Return the mean padded length of the batches of a first round, over at most 100 clients."""
    clients = range(min(len(setting.fleet), 100))
    return round(float(np.mean([b.length_tokens for k in clients for b in setting.data.padded_steps(k, 1)])))


def _path_s(setting: Setting, device_number: int, step: StepCosts) -> float:
    """Return the seconds of a step over the median links of the clients with a device, with nobody else there."""
    mine = setting.fleet.device_index == device_number
    links = setting.server_links
    uplinks, downlinks = setting.connections.lone_rates(setting.fleet)
    uplink = min(float(np.median(uplinks[mine])), links.uplink_bytes_per_s)
    downlink = min(float(np.median(downlinks[mine])), links.downlink_bytes_per_s)
    latency_s = float(np.median(setting.fleet.latency_s[mine])) + links.latency_s
    return (
        step.client_forward_s
        + transfer_s(step.activation_bytes + step.label_bytes, bytes_per_s=uplink, latency_s=latency_s)
        + step.server_step_s
        + transfer_s(step.gradient_bytes, bytes_per_s=downlink, latency_s=latency_s)
        + step.client_backward_s
        + step.client_optimizer_s
    )

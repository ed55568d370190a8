"""A faster device, link or server never ends a lone client later, with variation and, down to half speed, with heat."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.fleets import Throttle
from simulator.clock.world import World
from simulator.costs.cost import ProfiledCosts
from simulator.costs.pace import Pace, Variation
from simulator.network.connections import ServerLinks
from simulator.protocols.sfl_v1 import run_round
from simulator.records.recorder import RunWriter
from tests.simulator.device_profiles import device
from tests.simulator.small_rounds import plan
from tests.workloads.small_models import CONFIGS
from workloads.codec_bytes import FP32
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets

SHAPE = ModelShape.from_config(CONFIGS["gpt2"])
LORA = LoraSpec(targets=lora_targets(SHAPE, "attention"), rank=4, cut_rank=2, cut_rank_sides="both")

# What makes a machine faster when it grows, and what when it shrinks.
MORE = ("peak_flops_per_s", "achieved_frac", "bandwidth_efficiency_frac", "memory_bandwidth_bytes_per_s")
LESS = ("block_overhead_forward_s", "block_overhead_backward_s")
LINKS = ("uplink_bytes_per_s", "downlink_bytes_per_s")


@dataclasses.dataclass(frozen=True)
class Machines:
    """The client's and the server's device, and the client's link."""

    client: dict[str, Any]
    server: dict[str, Any]
    link: dict[str, float]


def end_s(machines: Machines, variation: Variation) -> float:
    """Return when a round of a lone client ends, aggregation included."""
    costs = ProfiledCosts(
        shape=SHAPE,
        lora=LORA,
        dtype="float32",
        activation_codec=FP32,
        gradient_codec=FP32,
        device_table=(device(**machines.client),),
        device_index=np.array([0]),
        server=device(**machines.server),
    )
    pace: Pace | None = variation.pace(seed=0)
    world = World(
        fleet=SimpleNamespace(**{name: np.array([value]) for name, value in machines.link.items()}),  # type: ignore[arg-type]
        server_links=ServerLinks(uplink_bytes_per_s=5e6, downlink_bytes_per_s=5e6, latency_s=0.01),
        slots=1,
        costs=costs,
        spans=RunWriter(None, {}).spans,
        pace=pace,
    )
    return run_round(world, 1, [plan(0, num_steps=3)]).end_s


def faster(machines: Machines, where: str, field: str, factor: float) -> Machines:
    part: dict[str, Any] = dict(getattr(machines, where))
    value = part[field]
    if isinstance(value, dict):
        part[field] = {dtype: peak * factor for dtype, peak in value.items()}
    else:
        part[field] = value / factor if field in {*LESS, "latency_s"} else value * factor
    return dataclasses.replace(machines, **{where: part})


IMPROVEMENTS = [
    *((where, field) for where in ("client", "server") for field in (*MORE, *LESS)),
    *(("link", field) for field in (*LINKS, "latency_s")),
]
# A device that waits less also rests less: a second of rest saves 1/frac - 1 seconds of slow computing, which is more
# than a second below half the speed. Then, and only then, a faster link or server may end a hot client later.
VARIATIONS = [
    Variation(),
    Variation(client_ln_sigma=0.3, server_ln_sigma=0.1),
    Variation(throttle=Throttle(after_s=0.5, mean_frac=0.5, low_frac=0.5, high_frac=0.5)),
]


@st.composite
def devices(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "peak_flops_per_s": {"float32": 10 ** draw(st.floats(7, 13))},
        "achieved_frac": draw(st.floats(0.01, 1)),
        "bandwidth_efficiency_frac": draw(st.floats(0.1, 1)),
        "memory_bandwidth_bytes_per_s": 10 ** draw(st.floats(7, 12)),
        "block_overhead_forward_s": 10 ** draw(st.floats(-5, -1)),
        "block_overhead_backward_s": 10 ** draw(st.floats(-5, -1)),
    }


@given(
    client=devices(),
    server=devices(),
    link=st.fixed_dictionaries(
        {name: st.floats(1e3, 1e8) for name in LINKS} | {"latency_s": st.floats(0.001, 0.5)},
    ),
    improvement=st.sampled_from(IMPROVEMENTS),
    factor=st.floats(1.0, 100.0),
    variation=st.sampled_from(VARIATIONS),
)
@settings(max_examples=200, deadline=None)
def test_a_lone_client_never_ends_later_for_a_faster_device_server_or_link(
    client: dict[str, Any],
    server: dict[str, Any],
    link: dict[str, float],
    improvement: tuple[str, str],
    factor: float,
    variation: Variation,
) -> None:
    machines = Machines(client, server, link)
    better = faster(machines, *improvement, factor)
    assert end_s(better, variation) <= end_s(machines, variation) * (1 + 1e-12)

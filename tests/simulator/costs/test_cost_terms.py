"""Every term of every cost: one that is missing or no number above 0 is an error at load, and no cost is ever 0."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.catalogue.lookup import Catalogue
from devices.device_file import DeviceFile, device_profile
from devices.network_file import network_profile
from devices.power import POWERS
from devices.problems import InputError
from devices.profiles import DeviceProfile
from devices.strict_yaml import parse_document
from simulator.costs.cost import ProfiledCosts
from simulator.costs.energy import powers
from simulator.costs.memory import max_feasible_cut
from tests.simulator.costs.test_cost import SHAPE, profiled
from tests.simulator.costs.test_memory import model
from tests.simulator.device_profiles import device
from tests.workloads.small_models import CONFIGS
from workloads.codec_bytes import FP32
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets

# Every field of a profile belongs to exactly one of these; a new field has to be put somewhere.
SECONDS = {
    "peak_flops_per_s",
    "achieved_frac",
    "bandwidth_efficiency_frac",
    "memory_bandwidth_bytes_per_s",
    "block_overhead_forward_s",
    "block_overhead_backward_s",
}
MEMORY = {"memory_usable_bytes"}
ENERGY = set(POWERS)
ELSEWHERE = {
    "measured_blocks",  # its times: tests/devices/test_measured_blocks.py
    "cpu_peak_flops_per_s",  # enters through a training stack alone, as a peak
}
NO_COST = {"id", "label", "tier", "accelerator", "confidence", "memory_bytes", "training_frac", "notes", "provenance"}

BAD = st.one_of(st.none(), st.just(0.0), st.floats(max_value=-1e-300), st.just(math.nan), st.just(math.inf))


def test_every_field_of_a_profile_is_accounted_for() -> None:
    groups = (SECONDS, MEMORY, ENERGY, ELSEWHERE, NO_COST)
    assert sorted(name for group in groups for name in group) == sorted(
        f.name for f in dataclasses.fields(DeviceProfile)
    )


@given(field=st.sampled_from(sorted(SECONDS)), bad=BAD, on_server=st.booleans())
@settings(max_examples=60)
def test_a_bad_term_of_seconds_is_an_error_that_names_device_and_field(field: str, bad: Any, on_server: bool) -> None:
    broken = device(id="broken", **{field: {"float32": bad} if field == "peak_flops_per_s" else bad})
    with pytest.raises(InputError, match=f"device 'broken': {field}"):
        profiled(server=broken) if on_server else profiled(table=(broken,), index=[0])


@given(field=st.sampled_from(sorted(SECONDS)), bad=BAD)
@settings(max_examples=30)
def test_a_good_profile_beside_it_does_not_hide_it(field: str, bad: Any) -> None:
    broken = device(id="broken", **{field: {"float32": bad} if field == "peak_flops_per_s" else bad})
    with pytest.raises(InputError) as caught:
        profiled(table=(device(id="good"), broken, broken), index=[0, 0, 0])
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("bad", [None, 0, -1])
def test_unknown_memory_is_an_error(bad: int | None) -> None:
    with pytest.raises(InputError, match="memory_usable_bytes"):
        max_feasible_cut(device(memory_usable_bytes=bad), model())


@given(missing=st.sets(st.sampled_from(POWERS), min_size=1))
def test_energy_without_any_of_its_terms_is_unknown_and_not_0(missing: set[str]) -> None:
    stated = {name: None if name in missing else 1.0 for name in POWERS}
    assert powers(device(**stated)) is None


# --- what a file may say

DEVICE = {
    "tier": "sbc",
    "accelerator": "cpu",
    "peak_fp32_tflops": 0.1,
    "memory_gib": 8,
    "memory_bandwidth_gbyte_per_s": 17,
}
TEXTS = {"type", "id", "label", "tier", "accelerator", "confidence", "source", "notes"}
NUMBERS = [f.name for f in dataclasses.fields(DeviceFile) if f.name not in {*TEXTS, "training_frac", "measured_blocks"}]
NETWORK = {"downlink_mbit_per_s": 10, "uplink_mbit_per_s": 5, "rtt_ms": 20}


def text(keys: dict[str, object]) -> str:
    return "".join(f"{key}: {value}\n" for key, value in keys.items())


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("bad", ["0", "-1", "{value: 0}", ".nan", ".inf"])
def test_a_number_of_a_device_file_that_is_not_above_0_is_refused(key: str, bad: str) -> None:
    with pytest.raises(InputError, match=key if bad[0] != "." else "nan|inf|finite"):
        device_profile(parse_document(text({**DEVICE, key: bad}), "mine.yaml"), "mine")


@pytest.mark.parametrize("key", DEVICE)
def test_a_number_without_a_default_has_to_be_there(key: str) -> None:
    with pytest.raises(InputError, match=f"{key}: this key is required"):
        device_profile(parse_document(text({k: v for k, v in DEVICE.items() if k != key}), "mine.yaml"), "mine")


@pytest.mark.parametrize("key", NETWORK)
@pytest.mark.parametrize("bad", ["0", "-1", "{p50: 0}", "{p10: 0, p50: 1, p90: 2}"])
def test_a_rate_or_round_trip_that_is_not_above_0_is_refused(key: str, bad: str) -> None:
    with pytest.raises(InputError, match=key):
        network_profile(parse_document(text({**NETWORK, key: bad}), "mine.yaml"), "mine")


@pytest.mark.parametrize("key", NETWORK)
def test_a_network_without_a_rate_or_round_trip_cannot_be_used(key: str) -> None:
    holey = network_profile(parse_document(text({k: v for k, v in NETWORK.items() if k != key}), "mine.yaml"), "mine")
    with pytest.raises(InputError, match=key):
        holey.spreads()


# --- what comes out

SHAPES = {family: ModelShape.from_config(config) for family, config in CONFIGS.items()}
CATALOGUE = Catalogue()
DEVICES = [CATALOGUE.device(name) for name in CATALOGUE.ids("devices")]


@given(
    family=st.sampled_from(sorted(SHAPES)),
    which=st.sampled_from(DEVICES),
    server=st.sampled_from(DEVICES),
    cut=st.integers(1, 3),
    batch=st.integers(1, 4),
    length=st.integers(2, 32),
    targets=st.sampled_from(["attention", "mlp", "all-linear"]),
    aggregator=st.sampled_from(["segment", "flexlora", "flora", "ffa"]),
)
@settings(max_examples=60, deadline=None)
def test_no_cost_of_any_device_and_family_is_0(
    family: str,
    which: DeviceProfile,
    server: DeviceProfile,
    cut: int,
    batch: int,
    length: int,
    targets: str,
    aggregator: str,
) -> None:
    shape = SHAPES[family]
    costs = ProfiledCosts(
        shape=shape,
        lora=LoraSpec(targets=lora_targets(shape, targets), rank=4, cut_rank=2, cut_rank_sides="both"),
        dtype="float32",
        activation_codec=FP32,
        gradient_codec=FP32,
        device_table=(which,),
        device_index=np.array([0]),
        server=server,
        aggregator=aggregator,
    )
    merged = costs.round(0, cut, (8,) * shape.num_blocks)
    for made in (costs.step(0, cut, batch, length), costs.validation(0, cut, batch, length), merged):
        for name, value in dataclasses.asdict(made).items():
            assert 0 < value < math.inf, name
    assert costs.aggregate_s([(0, cut)]) > 0


def test_the_small_model_of_these_tests_has_blocks_to_cut() -> None:
    assert SHAPE.num_blocks == 3
    assert {shape.num_blocks for shape in SHAPES.values()} == {4}

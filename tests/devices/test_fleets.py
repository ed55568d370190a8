from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.catalogue.lookup import Catalogue
from devices.fleets import MAX_CLIENTS, Fleet, FleetEntry, explicit_fleet, mixture_fleet
from devices.strict_yaml import InputError

WIFI_HOME = ("us-fixed-user-2025", "wifi5-2x2-cap")
DEVICES = ("rpi5-8gb", "apple-m2-16gb", "nvidia-t4")
ROUTES = (("lan-1gbe", None), WIFI_HOME, ("starlink-us-2025", None), ("sig21-4g-lte", "wifi5-2x2-cap"))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def entry(device: str, route: tuple[str, str | None], count: int = 1) -> FleetEntry:
    return FleetEntry(device=device, network=route[0], via=route[1], count=count)


def draws(fleet: Fleet, client: int) -> tuple[float, float, float]:
    return (
        float(fleet.downlink_bytes_per_s[client]),
        float(fleet.uplink_bytes_per_s[client]),
        float(fleet.latency_s[client]),
    )


def refused(entries: Sequence[FleetEntry], catalogue: Catalogue) -> list[str]:
    with pytest.raises(InputError) as caught:
        explicit_fleet(entries, catalogue, rng())
    return str(caught.value).splitlines()


# ---- explicit lists


def test_a_list_gives_its_clients_in_order_with_each_device_and_route_held_once(catalogue: Catalogue) -> None:
    entries = [entry("rpi5-8gb", WIFI_HOME, 2), entry("nvidia-t4", ("lan-1gbe", None)), entry("rpi5-8gb", WIFI_HOME)]

    fleet = explicit_fleet(entries, catalogue, rng())

    assert len(fleet) == 4
    assert [fleet.device(client).id for client in range(4)] == ["rpi5-8gb", "rpi5-8gb", "nvidia-t4", "rpi5-8gb"]
    assert [device.id for device in fleet.device_table] == ["rpi5-8gb", "nvidia-t4"]
    assert [route.id for route in fleet.network_table] == ["us-fixed-user-2025+wifi5-2x2-cap", "lan-1gbe"]
    assert fleet.network(2).id == "lan-1gbe"
    assert len({draws(fleet, client) for client in (0, 1, 3)}) == 3  # each client draws its own link


def test_numbers_of_a_users_constant_network_are_used_exactly(tmp_path: Path) -> None:
    text = "type: network\ndownlink_mbit_per_s: 7.3\nuplink_mbit_per_s: 1.1\nrtt_ms: 33\n"
    (tmp_path / "mine.yaml").write_text(text)

    fleet = explicit_fleet([entry("rpi5-8gb", ("mine", None), 3)], Catalogue([tmp_path]), rng())

    assert [draws(fleet, client) for client in range(3)] == [(912_500.0, 137_500.0, 0.0165)] * 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(DEVICES), st.sampled_from(ROUTES)), min_size=2, max_size=6), st.data())
def test_a_change_of_one_client_moves_no_other_clients_draws(
    catalogue: Catalogue, clients: list[tuple[str, tuple[str, str | None]]], data: st.DataObject
) -> None:
    changed = data.draw(st.integers(0, len(clients) - 1))
    other = [*clients]
    other[changed] = (data.draw(st.sampled_from(DEVICES)), data.draw(st.sampled_from(ROUTES)))

    before = explicit_fleet([entry(*client) for client in clients], catalogue, rng())
    after = explicit_fleet([entry(*client) for client in other], catalogue, rng())

    for client in range(len(clients)):
        if client != changed or clients[client][1] == other[client][1]:
            assert draws(before, client) == draws(after, client)


def test_added_clients_leave_the_earlier_ones_alone(catalogue: Catalogue) -> None:
    few = mixture_fleet("phones-2024", 10, catalogue, rng())
    many = mixture_fleet("phones-2024", 1000, catalogue, rng())

    assert [draws(many, client) for client in range(10)] == [draws(few, client) for client in range(10)]
    assert [many.device(client) for client in range(10)] == [few.device(client) for client in range(10)]


def test_grouping_clients_into_entries_changes_nothing(catalogue: Catalogue) -> None:
    together = explicit_fleet([entry("rpi5-8gb", WIFI_HOME, 3)], catalogue, rng())
    apart = explicit_fleet([entry("rpi5-8gb", WIFI_HOME)] * 3, catalogue, rng())

    assert [draws(together, client) for client in range(3)] == [draws(apart, client) for client in range(3)]


def test_everything_wrong_with_a_list_is_told_at_once(catalogue: Catalogue) -> None:
    entries = [
        entry("rpi6", ("lan-1gbe", None)),
        entry("rpi5-8gb", ("lan-1gb", "wifi"), 0),
        entry("rpi5-8gb", ("fedscale-mobiperf", None)),
    ]

    lines = refused(entries, catalogue)

    assert lines[0].startswith("clients.0.device: unknown device 'rpi6'; did you mean 'rpi5-8gb'?")
    assert lines[1] == "clients.1.count: expected 1 to 10,000,000 clients, got 0"
    assert lines[2].startswith("clients.1.network: unknown network 'lan-1gb'; did you mean 'lan-1gbe'?")
    assert lines[3].startswith("clients.1.via: unknown network 'wifi'")
    assert lines[4].startswith("clients.2.network: network 'fedscale-mobiperf' cannot be used: rtt_ms is not known; ")


def test_an_empty_list_is_refused(catalogue: Catalogue) -> None:
    assert refused([], catalogue) == ["clients: a fleet needs at least one client"]


def test_more_clients_than_memory_can_hold_are_refused(catalogue: Catalogue) -> None:
    half = entry("rpi5-8gb", ("lan-1gbe", None), MAX_CLIENTS)

    assert refused([half, half], catalogue) == ["clients: expected 1 to 10,000,000 clients, got 20,000,000"]


# ---- mixtures


def test_a_mixture_gives_devices_and_networks_their_shares_independently(catalogue: Catalogue) -> None:
    num_clients = 50_000
    fleet, mixture = mixture_fleet("phones-2024", num_clients, catalogue, rng()), catalogue.fleet("phones-2024")

    devices = np.bincount(fleet.device_index, minlength=len(mixture.devices)) / num_clients
    networks = np.bincount(fleet.network_index, minlength=len(mixture.networks)) / num_clients
    # Standard error of a share of 50,000 draws: at most 0.0022.
    assert devices == pytest.approx([share.weight for share in mixture.devices], abs=0.01)
    assert networks == pytest.approx([share.weight for share in mixture.networks], abs=0.01)
    on_first = fleet.network_index == 0
    of_last = fleet.device_index == len(mixture.devices) - 1
    assert (on_first & of_last).mean() == pytest.approx(on_first.mean() * of_last.mean(), abs=0.01)


def test_a_fleet_is_a_function_of_the_generator(catalogue: Catalogue) -> None:
    first, again, other = (mixture_fleet("edge-lab", 50, catalogue, rng(seed)) for seed in (1, 1, 2))

    assert np.array_equal(first.uplink_bytes_per_s, again.uplink_bytes_per_s)
    assert np.array_equal(first.device_index, again.device_index)
    assert not np.array_equal(first.uplink_bytes_per_s, other.uplink_bytes_per_s)


def test_arrays_are_small_and_read_only(catalogue: Catalogue) -> None:
    fleet = mixture_fleet("phones-2024", 1000, catalogue, rng())

    assert fleet.device_index.itemsize == fleet.network_index.itemsize == 1
    with pytest.raises(ValueError, match="read-only"):
        fleet.uplink_bytes_per_s[0] = 1.0


def test_every_usable_mixture_of_the_catalogue_can_be_drawn_from(catalogue: Catalogue) -> None:
    for name in catalogue.ids("fleets"):
        if catalogue.fleet(name).unusable is None:
            assert len(mixture_fleet(name, 7, catalogue, rng())) == 7


def test_a_fleet_without_devices_is_listed_but_its_use_tells_why_not(catalogue: Catalogue) -> None:
    assert "fedscale-compat" in catalogue.ids("fleets")
    with pytest.raises(InputError, match="fleet 'fedscale-compat' cannot be used: its compute is given as seconds per"):
        mixture_fleet("fedscale-compat", 3, catalogue, rng())


@pytest.mark.parametrize("count", [0, -1, MAX_CLIENTS + 1])
def test_a_count_out_of_range_is_refused(catalogue: Catalogue, count: int) -> None:
    with pytest.raises(InputError, match=r"^count: expected 1 to 10,000,000 clients, got "):
        mixture_fleet("edge-lab", count, catalogue, rng())


MIXTURE = """\
type: fleet
devices:
  - {device: rpi5-8gb, weight: 0.5}
  - {device: nvidia-t4, weight: 0.5}
networks:
  - {network: lan-1gbe, weight: 1}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MIXTURE.replace("t4, weight: 0.5", "t4, weight: 0.4"), "2: devices: the weights must sum to 1, not 0.9"),
        (MIXTURE.replace("weight: 1", "weight: 0.99"), "5: networks: the weights must sum to 1, not 0.99"),
        (
            MIXTURE.replace("weight: 1", "weight: -1"),
            "6: networks.0.weight: expected a number of at least 1e-09, got -1",
        ),
        ("type: fleet\ndevices: []\nnetworks: []\n", "2: devices: a fleet needs at least one entry here"),
        (
            "type: fleet\nnetworks:\n  - {network: lan-1gbe, weight: 1}\n",
            "1: devices: a fleet needs at least one entry here",
        ),
        (MIXTURE + "throttle: {after_s: 1}\n", "7: throttle.mean_frac: this key is required"),
        (
            MIXTURE + "throttle: {after_s: 1, mean_frac: 0.2, low_frac: 0.5, high_frac: 0.9}\n",
            "7: throttle: low_frac, mean_frac and high_frac must not decrease, got 0.5, 0.2, 0.9",
        ),
        (
            MIXTURE + "compute_jitter_ln_sigma: 1e300\n",
            "7: compute_jitter_ln_sigma: expected a number of at most 10 or a mapping, got 1e+300",
        ),
    ],
)
def test_a_mixture_that_does_not_add_up_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        mixture_fleet("mine", 3, Catalogue([tmp_path]), rng())

    assert f"{tmp_path / 'mine.yaml'}:{message}" in str(caught.value).splitlines()


def test_weights_may_miss_one_by_a_rounding_error(tmp_path: Path) -> None:
    thirds = "\n".join(f"  - {{device: {device}, weight: 0.3333333}}" for device in DEVICES)
    text = f"type: fleet\ndevices:\n{thirds}\nnetworks:\n  - {{network: lan-1gbe, weight: 1}}\n"
    (tmp_path / "mine.yaml").write_text(text)

    fleet = mixture_fleet("mine", 1000, Catalogue([tmp_path]), rng())

    assert set(fleet.device_index.tolist()) == {0, 1, 2}


def test_unknown_members_of_a_mixture_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MIXTURE.replace("nvidia-t4", "nvidia-t5").replace("lan-1gbe", "lan-2gbe"))
    with pytest.raises(InputError) as caught:
        mixture_fleet("mine", 3, Catalogue([tmp_path]), rng())

    first, second = str(caught.value).splitlines()
    assert first.startswith("devices.1.device: unknown device 'nvidia-t5'; did you mean 'nvidia-t4'?")
    assert second.startswith("networks.0.network: unknown network 'lan-2gbe'; did you mean 'lan-1gbe'?")

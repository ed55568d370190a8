"""Connections of a scenario: who shares what with whom, how rates vary, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.problems import InputError
from simulator.costs.prediction import predict
from simulator.hardware import hardware
from simulator.network.bandwidth_file import BandwidthRecord, BandwidthTrace
from simulator.network.connections import Cells, Connections, ServerLinks, Variation
from simulator.network.links import Links
from simulator.scenario import Scenario, to_mapping
from simulator.setting import resolve
from tests.simulator.random_rounds import Rates

SERVER = ServerLinks(uplink_bytes_per_s=100.0, downlink_bytes_per_s=200.0, latency_s=0.5)
HEADER = "client,time_s,downlink_mbit_per_s,uplink_mbit_per_s\n"


def links(num_clients=4, server=SERVER, **options):
    """Return the links of clients of 10 B/s up and 40 B/s down."""
    rates = Rates([10.0] * num_clients, [40.0] * num_clients, [0.25] * num_clients)
    return Links(rates, server, Connections(**options))


def cells(first, per_cell, count, up, down, *, half=False):
    return Cells(
        first_client=first, num_clients=per_cell, num_cells=count, uplink_bytes_per_s=up, downlink_bytes_per_s=down,
        half_duplex=half,
    )  # fmt: skip


def capacities(route):
    return [link.capacity_bytes_per_s for link in route]


# ---- who shares what


def test_by_default_a_route_is_the_clients_link_and_the_servers():
    up, down, latency_s = links().routes(0, 1, 0.0)
    assert (capacities(up), capacities(down)) == ([10, 100], [200, 40])
    assert latency_s == 0.75


def test_half_duplex_puts_the_wider_directions_link_into_both_routes():
    # The client's 40 down is wider than its 10 up; the server's 200 to the clients is wider than its 100.
    up, down, _ = links(half_duplex_clients=True, half_duplex_server=True).routes(0, 1, 0.0)
    assert (capacities(up), capacities(down)) == ([10, 40, 100, 200], [200, 40])
    assert up[1] is down[1]
    assert up[3] is down[0]


def test_half_duplex_of_equal_directions_is_one_link():
    even = ServerLinks(uplink_bytes_per_s=100.0, downlink_bytes_per_s=100.0, latency_s=0.0)
    up, down, _ = links(server=even, half_duplex_server=True).routes(0, 1, 0.0)
    assert (capacities(up), capacities(down)) == ([10, 100], [100, 40])
    assert up[1] is down[0]


def test_clients_of_one_cell_meet_in_it_and_others_do_not():
    # Cells {0, 1}, {2, 3} of 30/60 and {4}, of which 5 is not a part.
    own = links(6, cells=(cells(0, 2, 2, 30.0, 60.0), cells(4, 1, 1, 7.0, 8.0)))
    up = [own.routes(client, 1, 0.0)[0] for client in range(6)]
    assert [capacities(route) for route in up] == [[10, 30, 100]] * 4 + [[10, 7, 100], [10, 100]]
    assert up[0][1] is up[1][1]
    assert up[2][1] is up[3][1]
    assert up[1][1] is not up[2][1]
    down = own.routes(1, 1, 0.0)[1]
    assert capacities(down) == [200, 60, 40]


def test_a_cells_link_lasts_from_round_to_round():
    own = links(cells=(cells(0, 4, 1, 30.0, 60.0),))
    assert own.routes(0, 1, 0.0)[0][1] is own.routes(0, 2, 9.0)[0][1]


def test_a_server_link_that_all_cells_together_cannot_fill_is_left_out():
    # 2 x 50 up do not exceed 100; 2 x 101 down exceed 200.
    up, down, _ = links(cells=(cells(0, 2, 2, 50.0, 101.0),)).routes(0, 1, 0.0)
    assert (capacities(up), capacities(down)) == ([10, 50], [200, 101, 40])
    # a client outside of cells could fill the rest
    up, _, _ = links(5, cells=(cells(0, 2, 2, 50.0, 101.0),)).routes(0, 1, 0.0)
    assert capacities(up) == [10, 50, 100]


def test_outages_keep_the_servers_link():
    own = Links(
        Rates([10.0], [40.0], [0.0]), SERVER, Connections(cells=(cells(0, 1, 1, 1.0, 1.0),)), outages_s=((5.0, 6.0),)
    )
    assert capacities(own.routes(0, 1, 0.0)[0]) == [10, 1, 100]
    assert capacities(own.routes(0, 1, 5.0)[0]) == [10, 1, 0]
    assert capacities(own.routes(0, 1, 6.0)[0]) == [10, 1, 100]


def test_links_that_a_file_describes_have_its_rates_of_the_time():
    record = BandwidthRecord(times_s=(2.0, 8.0), downlink_bytes_per_s=(5.0, 6.0), uplink_bytes_per_s=(3.0, 4.0))
    trace = BandwidthTrace(records={1: record, "server": record}, period_s=math.inf, digest="")
    own = links(trace=trace)
    # The server's downlink, 5 from 2 s on, carries what clients send.
    assert [capacities(own.routes(1, 1, time_s)[0]) for time_s in (0.0, 2.0, 9.0)] == [[10, 100], [3, 5], [4, 6]]
    assert [capacities(own.routes(0, 1, time_s)[0]) for time_s in (0.0, 2.0, 9.0)] == [[10, 100], [10, 5], [10, 6]]
    assert own.routes(1, 1, 9.0)[0][0] is own.routes(1, 2, 10.0)[0][0]


# ---- how rates vary


def variation(*, between=0.0, within=0.0, correlation=0.0, seed=1):
    return Variation(
        seed=seed, between_sigma=between, within_sigma=(within,), correlation=(correlation,), interval_s=10.0
    )


def test_factors_have_mean_one_their_deviation_and_their_correlation():
    # sigma² = ln(1 + cv²) for cv = 0.5. 6,400 pairs: the mean is 1 ± 4·0.5/80, the cv as exact to a few per cent.
    sigma = math.sqrt(math.log1p(0.25))
    found = np.array([variation(within=sigma, correlation=0.6).within(7, 0).at(n) for n in range(6_400)])
    assert found.mean(axis=0) == pytest.approx([1, 1], abs=0.025)
    assert found.std(axis=0) == pytest.approx([0.5, 0.5], rel=0.08)
    assert np.corrcoef(np.log(found.T))[0, 1] == pytest.approx(0.6, abs=0.04)  # of the normal scores


def test_correlation_one_moves_both_directions_alike():
    down, up = variation(between=0.4, correlation=1.0).between(3, 0, 5)
    assert down == up


def test_a_factor_is_a_function_of_seed_client_and_interval_or_round_alone():
    one = variation(between=0.4, within=0.4)
    forwards = [one.within(2, 0).at(n) for n in range(200)]
    factors = variation(between=0.4, within=0.4).within(2, 0)
    assert [factors.at(n) for n in reversed(range(200))] == forwards[::-1]
    assert len({one.within(client, 0).at(0) for client in range(5)} | {factors.at(1)}) == 6
    assert len({one.between(client, 0, number) for client in range(3) for number in range(3)}) == 9
    assert variation(within=0.4, seed=2).within(2, 0).at(0) != forwards[0]


def test_a_clients_rates_hold_for_a_round_or_for_an_interval():
    between = links(variation=variation(between=0.5))
    assert capacities(between.routes(0, 1, 0.0)[0]) == capacities(between.routes(0, 1, 999.0)[0])
    # 10 B/s in whole bytes, deviating by half: of 20 rounds some differ
    assert len({between.routes(0, number, 0.0)[0][0].capacity_bytes_per_s for number in range(20)}) > 3
    within = links(variation=variation(within=0.5))
    first, second = (
        [within.routes(0, number, 3.0 + 10 * n)[0][0].capacity_bytes_per_s for n in range(20)] for number in (1, 2)
    )
    assert first == second  # whichever round it is
    assert len(set(first)) > 3


def test_a_rate_never_goes_to_zero():
    own = links(variation=variation(within=9.0))  # most factors are below 1e-9
    found = {own.routes(0, 1, 10.0 * n)[0][0].capacity_bytes_per_s for n in range(50)}
    assert min(found) == 1.0


# ---- what a scenario says


def scenario(folder=None, **sections):
    fleet = {"clients": [{"device": "rpi5-8gb", "network": "us-fixed-user-2025", "count": 4}]}
    execution = {"trainer": "cost-only"}
    return Scenario.from_mapping({"fleet": fleet, "execution": execution, **sections}, folder)


def found_connections(folder=None, **network):
    return hardware(scenario(folder, network=network), []).connections


def refused(folder=None, **network):
    with pytest.raises(InputError) as raised:
        found_connections(folder, **network)
    return [str(problem) for problem in raised.value.problems]


def test_cells_are_filled_in_order_and_the_last_entry_takes_who_is_left():
    # 8 Mbit/s are 1e6 B/s; clients 0 and 1 in the first cell, {2} and {3} after it
    sections = [
        {"clients": 2, "count": 1, "downlink_mbit_per_s": 8, "uplink_mbit_per_s": 16},
        {"clients": 1, "downlink_mbit_per_s": 8, "uplink_mbit_per_s": 16, "duplex": "half"},
    ]
    found = found_connections(cells=sections)
    assert found.cells == (cells(0, 2, 1, 2e6, 1e6), cells(2, 1, 2, 2e6, 1e6, half=True))
    assert [found.cell_of(client) for client in range(4)] == [
        (found.cells[0], 0),
        (found.cells[0], 0),
        (found.cells[1], 0),
        (found.cells[1], 1),
    ]


def test_a_coefficient_of_variation_may_come_from_each_clients_network():
    clients = [
        {"device": "rpi5-8gb", "network": "sig21-4g-lte"},
        {"device": "rpi5-8gb", "network": "sig21-5g-nsa-lowband"},
    ]
    asked = {"variation": {"within_session_cv": "catalogue"}}
    found = hardware(scenario(fleet={"clients": clients}, network=asked), []).connections.variation
    # The catalogue says 0.73 and 0.6; sigma² = ln(1 + cv²).
    assert found.within_sigma == pytest.approx([math.sqrt(math.log(1 + cv**2)) for cv in (0.73, 0.6)])
    assert found.correlation == (0.39, 0.36)


def test_a_file_lies_beside_the_scenario(tmp_path):
    (tmp_path / "bandwidth.csv").write_text(f"{HEADER}3,0,8,8\n")
    found = found_connections(tmp_path, trace={"file": "bandwidth.csv", "period_s": 60})
    assert list(found.trace.records) == [3]
    assert found.trace.period_s == 60
    assert found.identity() == {"trace": found.trace.digest}


def test_a_network_section_survives_being_written_and_read():
    network = {
        "duplex": {"clients": "half", "server": "full"},
        "cells": [{"clients": 2, "downlink_mbit_per_s": 1.5, "uplink_mbit_per_s": 1, "duplex": "half"}],
        "variation": {"between_sessions_cv": 0.1, "within_session_cv": "catalogue", "interval_s": 2.5},
        "trace": {"file": "bandwidth.csv", "period_s": 60},
    }
    one = scenario(network=network, moves={"weights": "shipped", "moments": "shipped"})
    assert Scenario.from_mapping(to_mapping(one)) == one


def test_check_says_what_is_not_as_by_default(tmp_path):
    assert found_connections().words() == ""
    (tmp_path / "bandwidth.csv").write_text(f"{HEADER}3,0,8,8\nserver,0,8,8\n")
    found = found_connections(
        tmp_path,
        duplex={"clients": "half", "server": "half"},
        cells=[{"clients": 3, "downlink_mbit_per_s": 1, "uplink_mbit_per_s": 1}],
        variation={"between_sessions_cv": 0.1},
        trace={"file": "bandwidth.csv"},
    )
    words = "half duplex: clients and server; 2 cell(s); rates vary; a file gives the rates of 2 connection(s)"
    assert found.words() == words


def test_a_shared_server_has_the_steps_of_all_clients_in_memory_at_once():
    step = {"model": "tiny", "dataset": {"source": "lengths"}}
    one, four_slots, shared = (
        predict(resolve(scenario(workload=step, server=server))).cuts[0].server_memory_bytes
        for server in ({}, {"slots": 4}, {"discipline": "processor-sharing"})
    )
    assert one == four_slots < shared  # each slot is an accelerator with memory of its own


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ({"duplex": {"clients": "simplex"}}, "network.duplex.clients: expected 'full' or 'half', got 'simplex'"),
        ({"duplex": "half"}, "network.duplex: expected a mapping, got 'half'"),
        ({"cells": [{"clients": 2}]}, "network.cells.0.downlink_mbit_per_s: this key is required"),
        (
            {"cells": [{"clients": 0, "downlink_mbit_per_s": 1, "uplink_mbit_per_s": 1}]},
            "network.cells.0.clients: expected a number of at least 1, got 0",
        ),
        (
            {"cells": [{"clients": 1, "downlink_mbit_per_s": 1, "uplink_mbit_per_s": 1}] * 2},
            "network.cells: every entry needs a 'count'; only the last entry may leave it out",
        ),
        (
            {"cells": [{"clients": 2, "count": 3, "downlink_mbit_per_s": 1, "uplink_mbit_per_s": 1}]},
            "network.cells.0: of the fleet's 4 clients 4 are left for these cells",
        ),
        (
            {"cells": [{"clients": 4, "downlink_mbit_per_s": 1, "uplink_mbit_per_s": 1e-300}]},
            "network.cells.0.uplink_mbit_per_s: expected a number of at least 8e-06, got 1e-300",
        ),
        ({"variation": {"interval_s": 0}}, "network.variation.interval_s: expected a number of at least 0.001, got 0"),
        ({"variation": {"between_sessions_cv": 11}}, "network.variation.between_sessions_cv: expected a number of at"),
        (
            {"variation": {"within_session_cv": "catalogue"}},
            "network.variation.within_session_cv: network(s) us-fixed-user-2025 state no within_session_cv",
        ),
        ({"variation": {"between_sessions_cv": -1}}, "network.variation.between_sessions_cv: expected a number of at"),
        ({"trace": {"period_s": 5}}, "network.trace.file: this key is required"),
        ({"trace": {"file": "nowhere.csv"}}, "nowhere.csv: cannot be read"),
    ],
)
def test_a_mistake_is_named(network, expected):
    assert expected in refused(**network)[0]


def test_a_word_that_is_no_coefficient_of_variation_is_refused():
    assert all("within_session_cv" in problem for problem in refused(variation={"within_session_cv": "catalog"}))


def test_cells_that_come_after_all_clients_are_refused():
    full = {"clients": 4, "count": 1, "downlink_mbit_per_s": 1, "uplink_mbit_per_s": 1}
    assert "network.cells.1: of the fleet's 4 clients 0 are left" in refused(cells=[full, {**full, "count": None}])[0]


def test_predicted_steps_go_through_the_clients_cell():
    cell = {"clients": 4, "downlink_mbit_per_s": 0.8, "uplink_mbit_per_s": 0.8}
    step = {"model": "tiny", "dataset": {"source": "lengths"}}
    alone, inside = (predict(resolve(scenario(workload=step, network={"cells": given}))) for given in ([], [cell]))
    # Both ways at 0.1 MB/s: the bytes of the step say how long that takes at least.
    sent = inside.cuts[0].up_bytes + inside.cuts[0].down_bytes
    assert inside.devices[0].step_s[0] > sent / 1e5 > alone.devices[0].step_s[0]


# ---- properties of whole rounds are in test_protocol_truth.py and test_network_rounds.py

rates = st.floats(1.0, 1e6)


@settings(max_examples=60)
@given(st.lists(rates, min_size=4, max_size=4), st.booleans(), st.booleans(), rates, rates)
def test_every_direction_of_a_route_is_bounded_by_its_own_rate(own, half_clients, half_server, cell_up, cell_down):
    server = ServerLinks(uplink_bytes_per_s=own[2], downlink_bytes_per_s=own[3], latency_s=0.0)
    options = Connections(
        half_duplex_clients=half_clients, half_duplex_server=half_server,
        cells=(cells(0, 1, 1, cell_up, cell_down, half=half_clients),),
    )  # fmt: skip
    up, down, _ = Links(Rates(own[:1], own[1:2], [0.0]), server, options).routes(0, 1, 0.0)
    assert min(capacities(up)) == min(own[0], own[2], cell_up)
    assert min(capacities(down)) == min(own[1], own[3], cell_down)

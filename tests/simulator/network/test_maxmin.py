"""The general solver, and when it is used instead of the star."""

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.network.fluid import Link, Network, Star, Transfer
from simulator.network.maxmin import Mesh, crossings, max_min_rates
from tests.simulator.messages import Sent, end_times


def test_clients_of_one_server_are_a_star_and_cells_or_shared_client_links_a_mesh() -> None:
    env = simpy.Environment()
    network = Network(env)
    server, first, second = Link(6.0), Link(4.0), Link(5.0)
    for own in (first, second):
        network.send((own, server), 100.0)
    assert isinstance(server.group, Star)
    assert server.group.hub is server
    extra = network.send((first, server), 1.0)  # a second message of the first client
    assert isinstance(server.group, Mesh)
    env.run(extra)
    env.run(env.now + 1e-6)
    assert isinstance(server.group, Star)


def test_a_lone_transfer_meets_others_wherever_they_come() -> None:
    # Alone on three links of 8, 4 and 6 B/s. The second comes at 1 s to the link of 6 B/s and has no other: 3 B/s
    # each. The first has 4 of 10 through at 1 s and needs 2 s more; the second has then 6 of 9 and gets 6 B/s.
    far, middle, near = Link(8.0), Link(4.0), Link(6.0)
    assert end_times(Sent(0.0, (far, middle, near), 10.0), Sent(1.0, (near,), 9.0)) == [3.0, 3.5]


@st.composite
def crossing_routes(draw: st.DrawFn) -> list[Transfer]:
    """Transfers on routes over a few links, some crossing a link twice, some weighted."""
    links = [Link(draw(st.floats(min_value=1e-3, max_value=1e6))) for _ in range(draw(st.integers(1, 6)))]
    network = Network(simpy.Environment())
    routes = draw(st.lists(st.lists(st.sampled_from(links), min_size=1, max_size=4), min_size=1, max_size=12))
    weights = st.sampled_from([1.0, 1.0, 0.5, 7.0])
    return [Transfer(network, order, tuple(route), 1.0, draw(weights)) for order, route in enumerate(routes)]


@given(crossing_routes())
def test_rates_are_max_min_fair_and_fill_no_link_above_its_capacity(transfers: list[Transfer]) -> None:
    crossing = crossings(transfers)
    found = max_min_rates(crossing)
    load = {link: sum(found[user] for user in users) for link, users in crossing.items()}
    for link in crossing:
        assert load[link] <= link.capacity_bytes_per_s * (1 + 1e-9)
    for transfer in transfers:
        # Bertsekas & Gallager 1992, section 6.5.2: rates are max-min fair exactly if each transfer has a bottleneck, a
        # full link where nobody has a higher rate for its weight.
        assert any(
            load[link] >= link.capacity_bytes_per_s * (1 - 1e-9)
            and all(
                found[user] / user.weight <= found[transfer] / transfer.weight * (1 + 1e-9) for user in crossing[link]
            )
            for link in transfer.route
        )


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4)), min_size=2, max_size=10))
def test_a_star_and_a_mesh_agree(clients: list[tuple[int, int, int]]) -> None:
    # A second link of the same capacity behind the server's changes nothing, but makes them meet at two links.
    def ends(num_hubs: int) -> list[float]:
        hubs = tuple(Link(4.0) for _ in range(num_hubs))
        return end_times(*(Sent(float(start), (Link(1.0 + own), *hubs), float(size)) for start, own, size in clients))

    assert ends(1) == pytest.approx(ends(2), rel=1e-12)

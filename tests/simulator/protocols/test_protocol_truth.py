"""The real protocol over the links of a scenario, against SimGrid and against brute force."""

import json
import math
from pathlib import Path

import pytest

from simulator.network.connections import ServerLinks
from tests.simulator.brute_force import BruteForce
from tests.simulator.random_rounds import KINDS, Case, Rates, Work, play, random_case, span_ends, transcribe

TRUTH = Path(__file__).parents[3].parent / "shared" / "truth" / "simgrid_scenarios.json"
RELATIVE = 1e-9


def group_h():
    if not TRUTH.exists():
        reason = "the file of SimGrid's times is not beside the repository"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    scenarios = json.loads(TRUTH.read_text(encoding="utf-8"))["scenarios"]
    return [pytest.param(one, id=one["id"]) for one in scenarios if one["group"] == "h"]


def case_of(params):
    """Return the case that a scenario's high-level figures describe: FLOPs over speeds are its `Costs`."""
    clients, many = params["clients"], params["rounds"] > 1
    return Case(
        rates=Rates(*([c[key] for c in clients] for key in ("up_B_s", "down_B_s", "latency_s"))),
        server=ServerLinks(
            uplink_bytes_per_s=params["server_in_B_s"], downlink_bytes_per_s=params["server_out_B_s"], latency_s=0.0
        ),
        works=[
            Work(
                adapter_down=c["adapter_B"] if many else 0,
                forward_s=c["fwd_flop"] / c["speed_flop_s"],
                up=c["upload_B"],
                server_s=c["server_flop"] / params["server_speed_flop_s"],
                down=c["download_B"],
                backward_s=c["bwd_flop"] / c["speed_flop_s"],
                adapter_up=c["adapter_B"],
            )
            for c in clients
        ],
        slots=params["server_slots"],
        discipline=params["server_discipline"],
        num_rounds=params["rounds"],
        num_steps=params["steps"],
    )


@pytest.mark.parametrize("truth", group_h())
def test_every_operation_of_the_protocol_ends_when_simgrid_says(truth):
    case = case_of(truth["params"])
    _, spans = play(case)
    expected = truth["results"]["pure"]["t_end_s"]
    # The file has no barrier at the end of a single round.
    for actor, times in span_ends(case, spans, with_barriers=truth["params"]["rounds"] > 1).items():
        assert times == pytest.approx(expected[actor.replace("a", "c")], rel=RELATIVE, abs=0), actor


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind in KINDS for seed in range(10)])
def test_every_operation_of_the_protocol_ends_when_brute_force_says(kind, seed):
    case = random_case(kind, seed)
    _, spans = play(case)
    found = span_ends(case, spans, with_barriers=not case.leaves_s)
    brute = BruteForce(transcribe(case))
    for actor, times in brute.ends.items():
        leaves_s = case.leaves_s[int(actor[1:])] if case.leaves_s else math.inf
        # The server ends a step for a client that is gone on its own.
        expected = [time_s for time_s in times if time_s <= leaves_s]
        assert found[actor][: len(expected)] == pytest.approx(expected, rel=RELATIVE, abs=1e-9), actor


@pytest.mark.parametrize("seed", range(8))
def test_of_a_message_that_is_cut_off_so_much_has_arrived_as_brute_force_says(seed):
    case = random_case("leaving", seed)
    _, spans = play(case)
    brute = BruteForce(transcribe(case))
    for client in range(len(case.works)):
        own = spans[(spans.client == client) & spans.actor.isin(["uplink", "downlink"])]
        sent = [amount for amount in brute.delivered[f"a{client}"] if amount]
        # Whole bytes are recorded; what was cut off before half a byte had arrived is not in either list.
        assert [n for n in own.num_bytes if n] == pytest.approx([n for n in sent if n >= 0.5], abs=0.51)

"""Cut policies where clients take turns in their own time (fedbuff)."""

import pandas as pd

import splitft
from simulator.policies import deciding
from simulator.policies.observation import Decision
from simulator.protocols.rounds import CutMove
from simulator.setting import resolve
from tests.simulator.policies.test_policies_in_runs import scenario

FLEET = {"clients": [{"device": device, "network": "lan-1gbe"} for device in ("rpi5-8gb", "rtx-3060-12gb")]}
FEDBUFF = {"kind": "fedbuff", "buffer_size": 2}


def run(**changes):
    return splitft.run(scenario(protocol=FEDBUFF, fleet=FLEET, **changes))


def test_a_joint_policy_is_asked_for_those_at_work_too():
    # The fast client takes turn after turn while the slow one is at work. Asked alone it would be its own straggler,
    # and shallow; beside the slow one it may be deep.
    clients = run(policy={"kind": "dtfl"}, rounds=6).clients
    fast = clients[clients.client == 1]
    assert len(fast) > 4
    assert fast.cut.min() > 1


def test_a_turn_has_the_cut_and_the_reason_with_which_it_began(monkeypatch):
    asked = []

    def count(observations, memory, section):
        """Give everybody another cut whenever it is asked."""
        number = len(asked)
        asked.append([o.client for o in observations])
        cuts = {o.client: o.allowed[number % len(o.allowed)] for o in observations}
        return Decision(cuts=cuts, reasons={k: f"cut {cut}" for k, cut in cuts.items()}, memory=memory)

    monkeypatch.setitem(deciding.POLICIES, "optimal", count)
    clients = run(policy={"kind": "optimal"}, rounds=8).clients
    assert (clients.cut_reason == "cut " + clients.cut.astype(str)).all()
    assert clients.cut.nunique() > 3
    assert asked == [[0, 1]] * 8  # the whole cohort, before every round


def test_clients_measure_themselves_and_move_by_their_own_count_of_turns():
    policy = {"kind": "splitft", "every": 3, "gamma_perf": 1.0}
    done = run(policy=policy, rounds=12, execution={"trainer": "cost-only"})
    measured = done.spans[done.spans.kind == "validation_forward"]
    turns = done.spans[(done.spans.kind == "download_adapter") & (done.spans.client == 1)].start_s.tolist()
    own = measured[measured.client == 1]
    of_turn = pd.cut(own.start_s, [*turns, float("inf")], labels=False) + 1
    assert len(own)
    assert (of_turn % 3 == 0).all()
    cuts = done.clients[done.clients.client == 1].sort_values("start_s").cut.tolist()
    # A third turn decides when it has been aggregated, at two results; by then the next turn may have begun as before.
    moves = [turn for turn in range(2, len(cuts) + 1) if cuts[turn - 1] != cuts[turn - 2]]
    assert moves
    assert all(turn % 3 for turn in moves)
    assert len(moves) <= len(cuts) // 3


def test_what_is_foreseen_of_a_turn_is_of_its_own_batches(monkeypatch):
    # Lengths are drawn anew for every turn: only the client's own count of turns finds the right ones.
    lengths = {"source": "lengths", "distribution": "uniform", "min_tokens": 8, "max_tokens": 64}
    workload = {"model": "gpt2", "dataset": lengths, "batch_size": 2, "local_steps": 1}
    foreseen = []

    def look(observations, memory, section):
        foreseen.extend((o.client, float(o.costs.seconds.client_s[0])) for o in observations if o.client == 0)
        cuts = {o.client: 1 for o in observations}
        return Decision(cuts=cuts, reasons=dict.fromkeys(cuts, "first"), memory=memory)

    monkeypatch.setitem(deciding.POLICIES, "fixed", look)
    fleet = {"clients": [FLEET["clients"][0]]}
    done = splitft.run(
        scenario(
            protocol={**FEDBUFF, "buffer_size": 1}, fleet=fleet, workload=workload, policy={"kind": "fixed"}, rounds=5
        )
    )
    took = done.spans[done.spans.kind.isin(["client_forward", "client_backward", "client_optimizer"])]
    starts = done.spans[done.spans.kind == "download_adapter"].start_s.tolist()
    turn = pd.cut(took.start_s, [*starts, float("inf")], labels=False, right=False)
    by_turn = (took.end_s - took.start_s).groupby(turn).sum().tolist()
    # It is asked before its first turn and after each; while it waits for the aggregation its next turn is to come.
    for (_, expected_s), took_s in zip(foreseen, by_turn, strict=False):
        assert abs(expected_s - took_s) < 1e-9
    assert len(set(by_turn)) > 1


def test_a_turn_is_charged_for_what_the_turns_before_it_have_not_brought(monkeypatch):
    def deeper(observations, memory, section):
        """Give everybody a block more whenever it is asked, and less again beyond five."""
        depth = memory.get("depth", 0) + 1
        cuts = {o.client: o.clip(depth if depth <= 5 else 2 + depth % 3) for o in observations}
        return Decision(cuts=cuts, reasons=dict.fromkeys(cuts, "deeper"), memory={"depth": depth})

    monkeypatch.setitem(deciding.POLICIES, "optimal", deeper)
    asked = scenario(protocol=FEDBUFF, fleet=FLEET, policy={"kind": "optimal"}, rounds=9, moves={"weights": "shipped"})
    costs = resolve(asked).costs
    clients = splitft.run(asked).clients
    for _, turns in clients[clients.status != "unfinished"].sort_values("start_s").groupby("client"):
        stored, trained, charged = 0, (), []
        for cut in turns.cut.tolist():
            move = costs.move(cut, CutMove(stored_cut=stored, cuts=trained))
            charged.append(move.weights_bytes + move.moments_up_bytes + move.moments_down_bytes)
            stored, trained = max(stored, cut), (*(other for other in trained if other != cut), cut)
        assert turns.moved_bytes.tolist() == charged
        assert len(set(turns.cut)) > 1


def test_cuts_settle_where_clients_take_turns():
    # A client has begun its next turn when a cut is decided, so that turn shows nothing of it.
    devices = ("rpi5-8gb", "apple-m2-16gb", "jetson-orin-nano-8gb", "rtx-3060-12gb")
    fleet = {"clients": [{"device": device, "network": "lan-1gbe"} for device in devices]}
    protocol = {"kind": "fedbuff", "buffer_size": len(devices), "max_staleness": 100}
    policy = {"kind": "splitft", "gamma_perf": 0.0}
    clients = splitft.run(scenario(protocol=protocol, fleet=fleet, policy=policy, rounds=40)).clients
    done = clients[clients.status == "finished"].sort_values("start_s")
    assert done.groupby("client").cut.nunique().max() > 1
    assert (done.groupby("client").cut.agg(lambda cuts: cuts.iloc[-5:].nunique()) == 1).all()

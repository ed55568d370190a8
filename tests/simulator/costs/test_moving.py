"""What moving a cut sends: bytes derived by hand, who has what by then, and rounds on the clock."""

from types import SimpleNamespace

import numpy as np
import pytest

from simulator.costs.cost import ProfiledCosts
from simulator.costs.moving import MOVE_KINDS, Holdings, MoveCosts
from simulator.protocols.rounds import CutMove
from splitft import api
from tests.simulator.device_profiles import device
from tests.simulator.small_rounds import MB, HandCosts, plan, play, times
from tests.small_run import small
from workloads.codec_bytes import FP32
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets

# d 4, MLP 8, 10 words, 16 positions, 3 blocks. A block: c_attn 4 · 12 + 12, c_proj 4 · 4 + 4, MLP 4 · 8 + 8 and
# 8 · 4 + 4, two norms of 8: 172 parameters; embeddings 10 · 4 + 16 · 4 = 104. Adapters on attention: a row has 4 + 12
# and 4 + 4 values, 24 in all, of which 16 of B.
SHAPE = ModelShape.from_config(
    {"model_type": "gpt2", "n_embd": 4, "n_head": 2, "n_inner": 8, "vocab_size": 10, "n_layer": 3, "n_positions": 16}
)
BLOCK, EMBEDDINGS = 172, 104
ROW_MOMENTS_BYTES = 2 * 4 * 24  # two float32 for each value of a row


def move_bytes(cut, *, sides="both", dtype="float32", trains_a=True, **move):
    costs = ProfiledCosts(
        shape=SHAPE,
        lora=LoraSpec(
            targets=lora_targets(SHAPE, "attention"), rank=2, cut_rank=1, cut_rank_sides=sides, trains_a=trains_a
        ),
        dtype=dtype,
        activation_codec=FP32,
        gradient_codec=FP32,
        device_table=(device(peak_flops_per_s={"float32": 1e12, "bfloat16": 1e12}),),
        device_index=np.array([0]),
        server=device(peak_flops_per_s={"float32": 1e12, "bfloat16": 1e12}),
    )
    return costs.move(cut, CutMove(**move))


def only(**sent):
    return MoveCosts(**{"weights_bytes": 0, "moments_up_bytes": 0, "moments_down_bytes": 0, **sent})


# ---- bytes


def test_a_new_client_gets_embeddings_and_its_blocks_and_later_the_blocks_that_it_lacks():
    assert move_bytes(2, stored_cut=0) == only(weights_bytes=4 * (EMBEDDINGS + 2 * BLOCK))
    assert move_bytes(2, stored_cut=1) == only(weights_bytes=4 * BLOCK)
    assert move_bytes(1, stored_cut=0, dtype="bfloat16") == only(weights_bytes=2 * (EMBEDDINGS + BLOCK))
    assert move_bytes(1, stored_cut=2) == move_bytes(2, stored_cut=None) == only()


def test_moments_of_a_block_come_down_when_a_client_takes_it_over_and_go_up_when_it_gives_it_up():
    # Cut after block 1: ranks 1, 1, 2; after block 2: ranks 2, 1, 1. Block 2 changes sides: one row in either case.
    assert move_bytes(2, cuts=(1,)) == only(moments_down_bytes=ROW_MOMENTS_BYTES)
    assert move_bytes(1, cuts=(2,)) == only(moments_up_bytes=ROW_MOMENTS_BYTES)


def test_every_row_counts_that_was_ever_trained():
    # The client's side alone is cut in rank. At cut 2 block 2 has rank 1; before, at cut 1, the server trained 2 rows.
    assert move_bytes(1, sides="client", cuts=(2,)).moments_up_bytes == ROW_MOMENTS_BYTES
    assert move_bytes(1, sides="client", cuts=(1, 2)).moments_up_bytes == 2 * ROW_MOMENTS_BYTES


def test_of_a_factor_that_is_not_trained_there_are_no_moments():
    assert move_bytes(2, cuts=(1,), trains_a=False).moments_down_bytes == 2 * 4 * 16


def test_weights_and_moments_of_several_blocks_add_up():
    # From cut 1 to 3, which is not a split: blocks 2 and 3 with ranks 1 and 2, and what the server has beside them.
    found = move_bytes(3, cuts=(1,), stored_cut=1)
    assert found.moments_down_bytes == 3 * ROW_MOMENTS_BYTES
    assert found.weights_bytes == 4 * (SHAPE.num_parameters - EMBEDDINGS - BLOCK)


# ---- who has what


def ended(client, cut, status, kinds):
    """Return a client's round that has ended."""
    plan = SimpleNamespace(client=client, cut=cut)
    return SimpleNamespace(plan=plan, seconds=dict.fromkeys(kinds, 1.0), status=status)


WHOLE = ("download_weights", "download_adapter", "client_forward")


def test_where_everything_is_resident_nothing_moves():
    holdings = Holdings(ships_weights=False, ships_moments=False)
    holdings.settle(ended(0, 2, "finished", WHOLE))
    assert holdings.move(0, 5) is None


def test_a_client_keeps_base_weights_that_it_ever_got():
    holdings = Holdings(ships_weights=True, ships_moments=False)
    assert holdings.move(0, 2) == CutMove(stored_cut=0)
    holdings.settle(ended(0, 2, "dropped", WHOLE))  # it went, but only after they had arrived
    assert holdings.move(0, 2) is None
    assert holdings.move(0, 4) == CutMove(stored_cut=2)
    holdings.settle(ended(0, 4, "dropped", ("download_weights",)))  # these had not
    assert holdings.move(0, 4) == CutMove(stored_cut=2)
    holdings.settle(ended(0, 3, "dropped", ("download_weights", "download_adapter")))  # these had, and nothing else
    assert holdings.move(0, 4) == CutMove(stored_cut=3)
    holdings.settle(ended(0, 4, "finished", WHOLE))
    assert holdings.move(0, 1) is holdings.move(0, 3) is None


def test_moments_move_from_where_the_last_round_that_counted_left_them():
    holdings = Holdings(ships_weights=False, ships_moments=True)
    assert holdings.move(0, 2) is None  # there are none yet
    holdings.settle(ended(0, 2, "finished", WHOLE))
    assert holdings.move(0, 2) is None
    assert holdings.move(0, 3) == CutMove(cuts=(2,))
    holdings.settle(ended(0, 3, "late", WHOLE))
    assert holdings.move(0, 3) == CutMove(cuts=(2,))
    holdings.settle(ended(0, 3, "finished", WHOLE))
    holdings.settle(ended(0, 2, "finished", WHOLE))
    assert holdings.move(0, 1) == CutMove(cuts=(3, 2))


# ---- rounds on the clock


class MovingCosts(HandCosts):
    def move(self, cut, move):
        up, down = (1 * MB, 0) if move.cuts == (3,) else (0, 2 * MB)
        return MoveCosts(weights_bytes=3 * MB, moments_up_bytes=up, moments_down_bytes=down)


@pytest.mark.parametrize(
    ("cuts", "expected"),
    [
        # at 1 MB/s, each message with its latency of 1 s: 1 MB of moments up, 3 MB of weights down, 4 MB of adapter
        ((3,), {"upload_moments": (0, 2), "download_weights": (2, 6), "download_adapter": (6, 11)}),
        # weights and moments are one message: its latency is paid once
        ((1,), {"download_weights": (0, 4), "download_moments": (4, 6), "download_adapter": (6, 11)}),
    ],
)
def test_a_round_begins_with_what_a_moved_cut_asks_for(cuts, expected):
    _, spans = play(MovingCosts(), [plan(0, move=CutMove(cuts=cuts))], latency_s=1.0)
    found = times(spans, 0)
    assert {kind: found[kind] for kind in expected} == {kind: pytest.approx(time) for kind, time in expected.items()}
    assert (spans[spans.kind.isin(MOVE_KINDS)].step == -1).all()


def test_a_client_that_goes_while_it_fetches_is_charged_for_what_has_arrived():
    log, spans = play(MovingCosts(), [plan(0, move=CutMove(cuts=(1,)), leaves_s=1.5)])
    assert spans[spans.kind == "download_weights"].num_bytes.item() == 1.5 * MB
    assert log.clients[0].num_bytes == {"download_weights": 1.5 * MB}


# ---- a scenario


def costly(**moves):
    """Return the records of three rounds in which cuts follow speed, with the clock alone."""
    policy = {"kind": "splitft", "gamma_perf": 0.0}
    return api.run(small(rounds=3, policy=policy, moves=moves, execution={"trainer": "cost-only"}))


def test_a_cut_can_move_for_free():
    run = costly(moments="uncharged")
    assert run.clients.groupby("client").cut.nunique().max() > 1
    assert not run.clients.moved_bytes.any()
    assert not set(MOVE_KINDS) & set(run.spans.kind)


def test_by_default_moments_are_sent_and_weights_are_there():
    assert set(MOVE_KINDS) & set(costly().spans.kind) <= {"upload_moments", "download_moments"}
    assert costly().clients.moved_bytes.any()


def test_what_moves_is_written_down_as_spans_and_by_client():
    run = costly(weights="shipped", moments="shipped")
    spans = run.spans[run.spans.kind.isin(MOVE_KINDS)]
    by_span = spans.groupby(["round", "client"]).num_bytes.sum()
    by_client = run.clients.set_index(["round", "client"]).moved_bytes
    assert by_client[by_client > 0].to_dict() == by_span.to_dict()
    assert (run.clients[run.clients["round"] == 1].moved_bytes > 0).all()  # everybody begins without weights
    totals = run.rounds.up_bytes.sum() + run.rounds.down_bytes.sum()
    assert totals == run.spans.num_bytes.sum()


def test_moments_that_are_reset_each_round_do_not_move():
    policy = {"kind": "splitft", "gamma_perf": 0.0}
    workload = {"optimizer": {"state": "reset"}}
    moved = api.run(
        small(
            rounds=3, policy=policy, workload=workload, moves={"moments": "shipped"},
            execution={"trainer": "cost-only"},
        )
    )  # fmt: skip
    assert moved.clients.groupby("client").cut.nunique().max() > 1
    assert not moved.clients.moved_bytes.any()

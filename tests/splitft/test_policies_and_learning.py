"""What cut policies do to learning: nothing, unless something depends on where the model is cut."""

import pytest
from safetensors.torch import load_file

import splitft
from simulator.policies.deciding import POLICIES
from tests.small_run import SMALL, small

pytestmark = pytest.mark.torch


def losses(cut_rank_sides):
    """Return the held-out losses of a run with each policy, and which cuts it had."""
    workload = {**SMALL["workload"], "max_length_tokens": 16, "local_steps": 1}
    workload["lora"] = {"cut_rank_sides": cut_rank_sides}
    found = {}
    for kind in POLICIES:
        policy = {"kind": kind} | ({"cuts": {"rpi5-8gb": 1, "rtx-3060-12gb": 6}} if kind == "per-device" else {})
        run = splitft.run(small(workload=workload, policy=policy, evaluation={"max_samples": 8, "every": 2}))
        found[kind] = (run.evals.loss.tolist(), run.clients.cut.tolist())
    return found


def test_with_equal_ranks_all_policies_end_with_the_same_loss_to_the_bit():
    found = losses("none")
    assert len({tuple(cuts) for _, cuts in found.values()}) > 5  # policies do differ in their cuts
    assert len({tuple(loss) for loss, _ in found.values()}) == 1


def test_with_a_lower_rank_at_the_cut_they_do_not():
    found = losses("both")
    first = {loss[0] for loss, _ in found.values()}
    assert len(first) == 1  # before training
    by_cuts = {tuple(cuts): loss[-1] for loss, cuts in found.values()}
    assert len(by_cuts) > 5
    assert len(set(by_cuts.values())) == len(by_cuts)  # as many losses as there are different cuts


@pytest.mark.parametrize("rule", ["segment", "fedavg"])
def test_averaging_clients_of_different_cuts_takes_nothing_from_the_one_server_adapter(rule, tmp_path):
    # Block 7 is the server's for all. Client 2 (cut 6) has 4 of its 8 rows; clients 0 and 1 (cut 1) have stepped all 8.
    cuts = {"kind": "per-device", "default": 1, "cuts": {"rtx-3060-12gb": 6}}
    lora = {"rank": 8, "cut_rank": 4, "cut_rank_sides": "server"}
    workload = {**SMALL["workload"], "max_length_tokens": 16, "local_steps": 1, "lora": lora}
    protocol = {"kind": "sfl-v2", "aggregator": rule}
    run = splitft.run(small(protocol=protocol, policy=cuts, rounds=1, workload=workload), tmp_path / "run")
    values = load_file(run.folder / "adapter" / "adapter_model.safetensors")
    norms = [tensor.norm(dim=1) for key, tensor in values.items() if ".6." in key and "lora_A" in key]
    assert norms
    # One step changes rows of A, which are drawn alike, by little; an average with zeros would take a third of them.
    assert all(norm[4:].mean() > 0.9 * norm[:4].mean() for norm in norms)

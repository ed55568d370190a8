"""Whole runs: what two runs must share, and what a run folder holds."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import splitft
from simulator.learning.recipe import EVALUATION_BATCH_SIZE
from simulator.setting import resolve
from tests.small_run import small

pytestmark = pytest.mark.torch

COST_ONLY = {"trainer": "cost-only"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return splitft.run(small(), tmp_path_factory.mktemp("runs") / "trained")


def span_files(run):
    return {path.name: path.read_bytes() for path in sorted((run.folder / "spans").glob("*.parquet"))}


def test_training_and_cost_only_write_byte_identical_spans_under_a_fixed_policy(trained, tmp_path):
    counted = splitft.run(small(execution=COST_ONLY), tmp_path / "counted")
    assert span_files(counted) == span_files(trained)
    assert counted.evals.empty
    assert not (counted.folder / "adapter").exists()


def test_the_same_seed_repeats_spans_and_adapter_to_the_byte(trained, tmp_path):
    again = splitft.run(small(), tmp_path / "again")
    assert span_files(again) == span_files(trained)
    adapter = "adapter/adapter_model.safetensors"
    assert (again.folder / adapter).read_bytes() == (trained.folder / adapter).read_bytes()
    assert again.records.meta["fingerprint"] == trained.records.meta["fingerprint"]


def test_another_seed_changes_spans_and_adapter(trained, tmp_path):
    other = splitft.run(small(seed=1), tmp_path / "other")
    assert span_files(other) != span_files(trained)
    mine, theirs = (load_file(run.folder / "adapter" / "adapter_model.safetensors") for run in (trained, other))
    assert any(not torch.equal(mine[key], theirs[key]) for key in mine)
    assert other.records.meta["fingerprint"] != trained.records.meta["fingerprint"]


def test_a_run_in_memory_has_the_same_spans_as_one_in_a_folder(trained):
    in_memory = splitft.run(small())
    assert in_memory.folder is None
    assert in_memory.records.meta["spans_sha256"] == trained.records.meta["spans_sha256"]
    assert in_memory.spans.equals(trained.spans)


def test_training_lowers_the_held_out_loss(trained):
    losses = trained.evals.sort_values("round").loss
    assert list(trained.evals["round"]) == [0, 1, 2]
    assert losses.iloc[-1] < losses.iloc[0]


def test_the_exported_adapter_gives_the_evaluated_loss_on_the_plain_base_model(trained):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    setting = resolve(small())
    base = AutoModelForCausalLM.from_pretrained(setting.model.folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, trained.folder / "adapter").eval()
    total, num_tokens = 0.0, 0
    with torch.no_grad():
        for batch in setting.data.held_out_batches(EVALUATION_BATCH_SIZE):
            logits = model(input_ids=torch.from_numpy(batch.ids).long()).logits[:, :-1]
            labels = torch.from_numpy(batch.labels).long()[:, 1:]
            total += torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100, reduction="sum"
            ).item()
            num_tokens += int((labels != -100).sum())
    last = trained.evals.iloc[-1]
    assert last.num_tokens == num_tokens
    assert total / num_tokens == pytest.approx(last.loss, rel=1e-6)


def test_bytes_on_the_wire_are_those_of_the_tensors_for_every_client_and_kind(trained):
    """Labels and lengths are int32, activations and gradients float32 of the padded batch, adapters their rows."""
    setting = resolve(small())
    shape, expected = setting.shape, {}
    for client in range(3):
        sums = dict.fromkeys(("upload_activations", "download_gradients", "upload_labels"), 0)
        for number in (1, 2):
            for batch in setting.data.training_batches(client, number):
                activations = np.zeros((*batch.ids.shape, shape.hidden_size), dtype=np.float32)
                sums["upload_activations"] += activations.nbytes
                sums["download_gradients"] += activations.nbytes
                sums["upload_labels"] += batch.labels.nbytes + batch.lengths.nbytes
        expected |= {(client, kind): num_bytes for kind, num_bytes in sums.items()}
        # blocks 1 and 2 on the client at ranks 16 and 8: rows of A (d_in) and columns of B (d_out), two rounds
        rows = load_file(trained.folder / "adapter" / "adapter_model.safetensors")
        own = sum(
            (rank / 16) * tensor.numel() * tensor.element_size()
            for block, rank in ((0, 16), (1, 8))
            for key, tensor in rows.items()
            if f"layers.{block}." in key
        )
        expected[client, "download_adapter"] = expected[client, "upload_adapter"] = 2 * int(own)
    spans = trained.spans[trained.spans.num_bytes > 0]
    measured = spans.groupby(["client", spans.kind.astype(str)]).num_bytes.sum().to_dict()
    assert measured == expected


def test_a_run_folder_holds_what_its_documentation_says(trained):
    names = {str(path.relative_to(trained.folder)) for path in trained.folder.rglob("*") if path.is_file()}
    assert {
        "run.json",
        "spans/round-000001.parquet",
        "spans/round-000002.parquet",
        "rounds.parquet",
        "clients.parquet",
        "evals.parquet",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "plots/loss_vs_time.png",
    } <= names
    meta = json.loads((trained.folder / "run.json").read_text())
    assert meta["status"] == "finished"
    assert meta["host"]["num_steps_computed"] == 2 * 3 * 2  # rounds, clients, steps
    devices = {device["id"]: device for device in meta["hardware"]["devices"]}
    assert devices["rpi5-8gb"]["peak_flops_per_s"]["float32"] == 153.6e9


def test_a_run_can_be_read_back_and_plotted(trained):
    run = splitft.load_run(trained.folder)
    assert run.spans.equals(trained.spans)
    assert run.summary == trained.summary
    assert run.plot("cuts").axes


def test_clients_validate_and_are_charged_only_where_the_policy_reads_performances():
    adaptive = splitft.run(small(policy={"kind": "splitft"}))
    assert (adaptive.spans.kind == "upload_validation").any()
    assert adaptive.clients.val_loss.notna().all()
    by_speed_alone = splitft.run(small(policy={"kind": "splitft", "gamma_perf": 0}))
    assert not (by_speed_alone.spans.kind == "upload_validation").any()
    assert by_speed_alone.clients.val_loss.isna().all()


def test_without_a_rank_that_depends_on_it_the_cut_changes_time_but_not_learning():
    lora = {"cut_rank_sides": "none"}
    shallow, deep = (
        splitft.run(
            small(
                workload={**small_workload(), "lora": lora},
                policy={"kind": "fixed", "cut": cut},
            )
        )
        for cut in (1, 6)
    )
    assert list(shallow.evals.loss) == list(deep.evals.loss)
    assert shallow.rounds.end_s.iloc[-1] != deep.rounds.end_s.iloc[-1]


def small_workload():
    from tests.small_run import SMALL

    return SMALL["workload"]


def test_the_last_round_before_a_time_limit_is_measured_whatever_the_interval(trained):
    stop_at_s = float(trained.rounds.end_s.iloc[0]) * 1.001  # two rounds start; the fourth would be measured next
    run = splitft.run(small(rounds=5, stop_at_s=stop_at_s, evaluation={"every": 4, "max_samples": 16}))
    assert list(run.evals["round"]) == [0, 2]
    assert run.summary.after.round == 2
    assert run.summary.after.loss == trained.evals.loss.iloc[2]  # the same two rounds


def test_a_simulated_time_limit_ends_the_run_after_the_round_that_reaches_it(trained):
    first_end_s = float(trained.rounds.end_s.iloc[0])
    assert len(splitft.run(small(stop_at_s=first_end_s, execution=COST_ONLY)).rounds) == 1
    assert len(splitft.run(small(stop_at_s=first_end_s * 1.001, execution=COST_ONLY)).rounds) == 2

import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.problems import InputError
from devices.strict_yaml import parse_document, read_document
from simulator.participation.choosing import SELECTIONS
from simulator.policies.deciding import POLICIES
from simulator.scenario import (
    FOLDER,
    Scenario,
    fingerprint_payload,
    shipped,
    template,
    to_mapping,
    to_yaml,
)
from simulator.sections.fields import MAX_COUNT
from simulator.sections.machines import ExecutionSection, FleetSection, SeedSection
from simulator.sections.participation import (
    AllSelection,
    AlwaysOn,
    BernoulliAvailability,
    CatalogueAvailability,
    DeadlineSelection,
    OverCommitSelection,
    RandomSelection,
    TraceAvailability,
)
from simulator.sections.policy import FixedPolicy, PerDevicePolicy, SplitFTPolicy
from simulator.sections.workload import IidPartition, LengthDirichletPartition, LoraSection, WorkloadSection
from workloads.shapes import ModelShape, lora_targets

FLEET = {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe"}]}
FLEET_YAML = "fleet: {clients: [{device: rpi5-8gb, network: lan-1gbe}]}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str) -> Scenario:
    return Scenario.load(write(folder, text))


def problems(folder: Path, text: str) -> list[str]:
    """Return what is said about a file, one text a problem, without the folder."""
    with pytest.raises(InputError) as raised:
        load(folder, text)
    return [str(problem).removeprefix(f"{folder}/") for problem in raised.value.problems]


# --- what is read


def test_every_key_but_fleet_has_the_default_that_the_design_gives(tmp_path: Path) -> None:
    scenario = load(tmp_path, FLEET_YAML)
    # The values are those of the annotated example in the design document.
    assert to_mapping(scenario) == {
        "name": "scenario",
        "label": "",
        "seed": {"fleet": 0, "data": 0, "training": 0},
        "rounds": 8,
        "workload": {
            "model": "tiny",
            "dataset": {"source": "pydocs", "text_column": "text", "unit": "document", "split": "train"},
            "dtype": "float32",
            "max_length_tokens": 128,
            "batch_size": 4,
            "local_steps": 4,
            "length_bucketing": False,
            "gradient_checkpointing": False,
            "optimizer": {
                "kind": "adamw",
                "learning_rate": 2e-3,
                "betas": [0.9, 0.999],
                "eps": 1e-8,
                "weight_decay": 0.0,
                "schedule": "constant",
                "state": "kept",
            },
            "dropout": 0.0,
            "lora": {
                "rank": 16,
                "cut_rank": 8,
                "cut_rank_sides": "both",
                "dormant": "excluded",
                "alpha": 32.0,
                "targets": "attention",
            },
            "codec": {"activations": {"kind": "fp32"}, "gradients": {"kind": "fp32"}},
            "partition": {
                "kind": "length-dirichlet",
                "alpha": 0.5,
                "num_classes": 8,
                "min_samples": 8,
                "bins": "quantile",
            },
            "validation": {"frac": 0.05, "max_samples": 8},
        },
        "fleet": {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe", "count": 1}]},
        "server": {
            "device": "nvidia-a100-80gb-sxm",
            "network": "lan-10gbe",
            "slots": 1,
            "discipline": "fifo",
            "outages": [],
        },
        "network": {
            "duplex": {"clients": "full", "server": "full"},
            "cells": [],
            "variation": {"between_sessions_cv": 0.0, "within_session_cv": 0.0, "interval_s": 10.0},
        },
        "moves": {"weights": "resident", "moments": "shipped"},
        "protocol": {"kind": "sfl-v1", "aggregator": "segment"},
        "policy": {
            "kind": "splitft",
            "initial_cut": 2,
            "min_cut": 1,
            "every": 1,
            "gamma_perf": 0.5,
            "gamma_res": 1.0,
            "max_move": 2,
            "smoothing": 0.5,
        },
        "selection": {"kind": "all", "min_clients": 1},
        "availability": {"kind": "catalogue", "start_h": 0.0},
        "costs": {
            "training_stack": {},
            "attention": "whole",
            "jitter": {"kind": "none"},
            "throttle": {"kind": "none"},
            "oom": "error",
            "energy": "stated",
        },
        "evaluation": {"every": 1, "held_out_frac": 0.1, "max_samples": 256, "targets": {"perplexity": []}},
        "execution": {"trainer": "torch", "device": "auto", "executor": "auto", "memo": True, "spans": "steps"},
    }


def test_one_number_seeds_everything_and_a_mapping_seeds_each_purpose(tmp_path: Path) -> None:
    assert load(tmp_path, FLEET_YAML + "seed: 7").seed == SeedSection(fleet=7, data=7, training=7)
    assert load(tmp_path, FLEET_YAML + "seed: {training: 7}").seed == SeedSection(fleet=0, data=0, training=7)


def test_a_number_in_scientific_notation_without_a_point_is_a_number(tmp_path: Path) -> None:
    scenario = load(tmp_path, FLEET_YAML + "workload: {optimizer: {learning_rate: 5e-5}}")
    assert scenario.workload.optimizer.learning_rate == 0.00005


def test_a_whole_number_may_stand_for_a_float_and_is_the_same_scenario(tmp_path: Path) -> None:
    whole = load(tmp_path, FLEET_YAML + "policy: {gamma_res: 1}")
    point = load(tmp_path, FLEET_YAML + "policy: {gamma_res: 1.0}")
    assert whole == point
    assert fingerprint_payload(whole) == fingerprint_payload(point)


def test_a_word_is_the_source_of_a_dataset(tmp_path: Path) -> None:
    word = load(tmp_path, FLEET_YAML + "workload: {dataset: texts.jsonl}")
    assert word == load(tmp_path, FLEET_YAML + "workload: {dataset: {source: texts.jsonl}}")


def test_targets_are_a_word_or_a_list_of_names(tmp_path: Path) -> None:
    listed = load(tmp_path, FLEET_YAML + "workload: {lora: {targets: [q_proj, v_proj]}}")
    assert listed.workload.lora.targets == ("q_proj", "v_proj")


@pytest.mark.parametrize("word", ["attention", "mlp", "all-linear"])
def test_every_word_for_targets_is_one_that_models_know(word: str) -> None:
    config = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2, "n_positions": 16, "vocab_size": 32}
    section = LoraSection(targets=word)  # type: ignore[arg-type]
    assert lora_targets(ModelShape.from_config(config), section.targets)


def test_float16_can_be_timed(tmp_path: Path) -> None:
    scenario = load(tmp_path, FLEET_YAML + "workload: {dtype: float16}\nexecution: {trainer: cost-only}")
    assert scenario.workload.dtype == "float16"
    with pytest.raises(InputError, match="not trained"):
        dataclasses.replace(scenario, execution=ExecutionSection(trainer="torch"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("policy: {kind: fixed}", FixedPolicy(cut=2)),
        ("policy: {kind: per-device}", PerDevicePolicy(cuts={}, default=2)),
        ("policy: {kind: per-device, cuts: {rpi5-8gb: 1}}", PerDevicePolicy(cuts={"rpi5-8gb": 1}, default=2)),
        ("policy: {initial_cut: 3}", SplitFTPolicy(initial_cut=3)),
    ],
)
def test_every_policy_has_complete_defaults_and_splitft_is_the_default_kind(
    tmp_path: Path, text: str, expected: object
) -> None:
    assert load(tmp_path, FLEET_YAML + text).policy == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("selection: {min_clients: 2}", AllSelection(min_clients=2)),
        ("selection: {kind: random}", RandomSelection(fraction=None, count=None)),  # then it is a tenth
        ("selection: {kind: over-commit}", OverCommitSelection(count=10, factor=1.3, deadline_s=None)),
        ("selection: {kind: deadline}", DeadlineSelection(deadline_s=600.0, fraction=None, count=None)),
    ],
)
def test_every_selection_has_complete_defaults_and_all_is_the_default_kind(
    tmp_path: Path, text: str, expected: object
) -> None:
    assert load(tmp_path, FLEET_YAML + text).selection == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("availability: {id: diurnal-phone}", CatalogueAvailability(id="diurnal-phone", failure_frac=None)),
        ("availability: {kind: always-on}", AlwaysOn(failure_frac=0.0)),
        ("availability: {kind: bernoulli}", BernoulliAvailability(available_frac=0.8, failure_frac=0.0)),
        ("availability: {kind: trace, file: a.csv}", TraceAvailability(file="a.csv", failure_frac=0.0)),
    ],
)
def test_every_availability_has_complete_defaults_and_the_catalogues_is_the_default_kind(
    tmp_path: Path, text: str, expected: object
) -> None:
    assert load(tmp_path, FLEET_YAML + text).availability == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{kind: iid}", IidPartition(min_samples=8)), ("{alpha: 0.1}", LengthDirichletPartition(alpha=0.1))],
)
def test_every_partition_has_complete_defaults_and_length_dirichlet_is_the_default_kind(
    tmp_path: Path, text: str, expected: object
) -> None:
    assert load(tmp_path, FLEET_YAML + f"workload: {{partition: {text}}}").workload.partition == expected


def test_a_scenario_knows_its_folder_and_a_shipped_one_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, FLEET_YAML)
    monkeypatch.chdir(tmp_path)
    assert Scenario.load("mine.yaml").folder == tmp_path.resolve()
    assert Scenario.load("quickstart").folder is None


def test_where_a_scenario_lies_is_no_part_of_what_it_is(tmp_path: Path) -> None:
    scenario = load(tmp_path, FLEET_YAML)
    elsewhere = dataclasses.replace(scenario, folder=None)
    assert scenario.folder is not None
    assert scenario == elsewhere
    assert to_mapping(scenario) == to_mapping(elsewhere)


def test_a_changed_copy_keeps_its_folder_and_is_checked_like_the_original(tmp_path: Path) -> None:
    scenario = load(tmp_path, FLEET_YAML)
    assert dataclasses.replace(scenario, rounds=2).folder == scenario.folder
    assert dataclasses.replace(scenario, seed=3).seed.data == 3  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rounds: expected a number of at least 1, got 0"):
        dataclasses.replace(scenario, rounds=0)


def test_a_scenario_cannot_be_changed() -> None:
    scenario = Scenario.load("quickstart")
    with pytest.raises(dataclasses.FrozenInstanceError):
        scenario.rounds = 2  # type: ignore[misc]


# --- what is refused: one case a mistake


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("round: 3", "mine.yaml:2: round: unknown key; allowed: name, label, seed, rounds, "),
        ("rounds: many", "mine.yaml:2: rounds: expected a whole number, got 'many'"),
        ("rounds: true", "mine.yaml:2: rounds: expected a whole number, got true"),
        ("rounds: 2.0", "mine.yaml:2: rounds: expected a whole number, got 2.0"),
        ("rounds: 0", "mine.yaml:2: rounds: expected a number of at least 1, got 0"),
        ("rounds: 3\nrounds: 4", "mine.yaml:3: rounds: this key is given twice (first in line 2)"),
        ("stop_at_s: -1", "mine.yaml:2: stop_at_s: expected a number greater than 0"),
        ("stop_at_s: .nan", "mine.yaml:2: stop_at_s: a number must be finite, got .nan"),
        ("stop_at_s: .inf", "mine.yaml:2: stop_at_s: a number must be finite, got .inf"),
        ("stop_at_s: true", "mine.yaml:2: stop_at_s: expected a number, got true"),
        ("name: ../x", "mine.yaml:2: name: expected an id: lower-case letters, digits, "),
        ("name: Quickstart", "mine.yaml:2: name: expected an id: lower-case letters, digits, "),
        (f"name: {'x' * 65}", "mine.yaml:2: name: expected an id: lower-case letters, digits, "),
        ("seed: -1", "mine.yaml:2: seed: expected a whole number from 0 to 2**63 - 1, or a mapping of fleet, data and"),
        (
            "seed: true",
            "mine.yaml:2: seed: expected a whole number from 0 to 2**63 - 1, or a mapping of fleet, data and",
        ),
        (
            "seed: {date: 1}",
            "mine.yaml:2: seed.date: unknown key; allowed: fleet, data, training; did you mean 'data'?",
        ),
        (
            "server: {discipline: lifo}",
            "mine.yaml:2: server.discipline: expected 'fifo', 'priority' or 'processor-sharing', got 'lifo'",
        ),
        ("moves: {weights: sent}", "mine.yaml:2: moves.weights: expected 'resident' or 'shipped', got 'sent'"),
        ("moves: {moments: resident}", "mine.yaml:2: moves.moments: expected 'uncharged' or 'shipped', got 'resident'"),
        (
            "network: {cell: []}",
            "mine.yaml:2: network.cell: unknown key; allowed: duplex, cells, variation, trace; did",
        ),
        ("server: {slots: 0}", "mine.yaml:2: server.slots: expected a number of at least 1, got 0"),
        ("selection: all", "mine.yaml:2: selection: expected a mapping, got 'all'"),
        (
            "selection: {kind: randm}",
            "mine.yaml:2: selection.kind: unknown kind 'randm'; allowed: all, random, over-commit, deadline, oort",
        ),
        (
            "selection: {kind: random, fraction: 0.1, count: 3}",
            "mine.yaml:2: selection.count: excludes 'fraction': keep one of the two, got 3",
        ),
        (
            "selection: {kind: random, fraction: 0}",
            "mine.yaml:2: selection.fraction: expected a number greater than 0, got 0",
        ),
        ("selection: {fraction: 0.1}", "mine.yaml:2: selection.fraction: unknown key; allowed: kind, min_clients"),
        (
            "selection: {kind: over-commit, factor: 0.9}",
            "mine.yaml:2: selection.factor: expected a number of at least 1, got 0.9",
        ),
        (
            "selection: {kind: deadline, deadline_s: 0}",
            "mine.yaml:2: selection.deadline_s: expected a number greater than 0, got 0",
        ),
        ("selection: {min_clients: 0}", "mine.yaml:2: selection.min_clients: expected a number of at least 1, got 0"),
        (
            "availability: {kind: sometimes}",
            "mine.yaml:2: availability.kind: unknown kind 'sometimes'; allowed: always-on, catalogue, bernoulli, trace",
        ),
        ("availability: {kind: trace}", "mine.yaml:2: availability.file: this key is required"),
        (
            "availability: {kind: bernoulli, available_frac: 0}",
            "mine.yaml:2: availability.available_frac: expected a number greater than 0, got 0",
        ),
        ("availability: {failure_frac: 1}", "mine.yaml:2: availability.failure_frac: expected a number less than 1"),
        ("availability: {start_h: 24}", "mine.yaml:2: availability.start_h: expected a number less than 24, got 24"),
        (
            "server: {outages: [{start_s: 5, end_s: 5}]}",
            "mine.yaml:2: server.outages.0.end_s: must be later than start_s (5), got 5",
        ),
        (
            "protocol: {kind: sfl-v3}",
            "mine.yaml:2: protocol.kind: unknown kind 'sfl-v3'; allowed: sl, sfl-v1, sfl-v2, sfl-pipelined, ",
        ),
        ("protocol: {kind: sl, aggregator: segment}", "mine.yaml:2: protocol.aggregator: unknown key; allowed: kind"),
        (
            "protocol: {kind: sfl-pipelined, micro_batches: 0}",
            "mine.yaml:2: protocol.micro_batches: expected a number of at least 1, got 0",
        ),
        (
            "protocol: {kind: fedbuff, buffer_size: 0}",
            "mine.yaml:2: protocol.buffer_size: expected a number of at least 1, got 0",
        ),
        (
            "protocol: {kind: fedbuff, max_staleness: -1}",
            "mine.yaml:2: protocol.max_staleness: expected a number of at least 0, got -1",
        ),
        (
            "protocol: {aggregator: fed-avg}",
            "mine.yaml:2: protocol.aggregator: expected 'segment', 'fedavg', 'hetlora', 'hetlora-per-block',",
        ),
        (
            "policy: {kind: fixt}",
            "mine.yaml:2: policy.kind: unknown kind 'fixt'; allowed: splitft, fixed, per-device, random, memory-greed",
        ),
        (
            "policy: {kind: optimal, min_cut: 4, max_cut: 3}",
            "mine.yaml:2: policy.min_cut: must not exceed max_cut (3), got 4",
        ),
        (
            "policy: {kind: dtfl, smoothing: 0}",
            "mine.yaml:2: policy.smoothing: expected a number greater than 0, got 0",
        ),
        (
            "policy: {kind: rate-threshold, slow_links: deep}",
            "mine.yaml:2: policy.slow_links: expected 'shallower' or 'deeper', got 'deep'; did you mean 'deeper'?",
        ),
        ("policy: {kind: bandit, arms: 3}", "mine.yaml:2: policy.arms: unknown key; allowed: kind, min_cut, max_cut, "),
        (
            "policy: {kind: weighted-cost, client: -1}",
            "mine.yaml:2: policy.client: expected a number of at least 0, got -1",
        ),
        (
            'policy: {kind: "mine.py:"}',
            "mine.yaml:2: policy.kind: expected own code as FILE.py:NAME or MODULE:NAME, got 'mine.py:'",
        ),
        (
            'policy: {kind: "mine.py:half", settings: {a: [1]}}',
            "mine.yaml:2: policy.settings.a: expected true or false or a whole number or a number or text, got a list",
        ),
        (
            "selection: {kind: oort, fraction: 0.1, count: 3}",
            "mine.yaml:2: selection.count: excludes 'fraction': keep one of the two, got 3",
        ),
        (
            "selection: {kind: oort, exploration: 0.1}",
            "mine.yaml:2: selection.least_exploration: must not exceed 0.1, got 0.2",
        ),
        (
            'selection: {kind: "mine.py:x", cnt: 3}',
            "mine.yaml:2: selection.cnt: unknown key; allowed: kind, count, settings, min_clients",
        ),
        (
            'protocol: {aggregator: ":x"}',
            "mine.yaml:2: protocol.aggregator: expected own code as FILE.py:NAME or MODULE:NAME, got ':x'",
        ),
        ("policy: {kind: fixed, min_cut: 1}", "mine.yaml:2: policy.min_cut: unknown key; allowed: kind, cut"),
        ("policy: {kind: fixed, cut: 0}", "mine.yaml:2: policy.cut: expected a number of at least 1, got 0"),
        (
            "policy: {kind: per-device, cuts: {a: 0}}",
            "mine.yaml:2: policy.cuts.a: expected a number of at least 1, got 0",
        ),
        ("policy: {min_cut: 3, max_cut: 2}", "mine.yaml:2: policy.min_cut: must not exceed max_cut (2), got 3"),
        ("policy: {min_cut: 3}", "mine.yaml:2: policy.initial_cut: must not be below min_cut (3), got 2"),
        ("policy: {max_cut: 1}", "mine.yaml:2: policy.initial_cut: must not exceed max_cut (1), got 2"),
        ("policy: {smoothing: 0}", "mine.yaml:2: policy.smoothing: expected a number greater than 0"),
        ("workload: {dropout: 1}", "mine.yaml:2: workload.dropout: expected a number less than 1"),
        (
            "workload: {dataset: 3}",
            "mine.yaml:2: workload.dataset: expected the name of a dataset or a mapping with its",
        ),
        (
            "workload: {dtype: fp8}",
            "mine.yaml:2: workload.dtype: expected 'float32', 'bfloat16' or 'float16', got 'fp8'",
        ),
        (
            "workload: {max_length_tokens: 1}",
            "mine.yaml:2: workload.max_length_tokens: expected a number of at least 2",
        ),
        ("workload: {lora: {rank: 4}}", "mine.yaml:2: workload.lora.cut_rank: must not exceed rank (4), got 8"),
        (
            "workload: {lora: {targets: atention}}",
            "mine.yaml:2: workload.lora.targets: expected 'attention', 'mlp' or 'all-linear' or a list",
        ),
        ("workload: {lora: {targets: []}}", "mine.yaml:2: workload.lora.targets: expected 'attention', 'mlp' or"),
        (
            "workload: {dtype: float16}",
            "mine.yaml:2: workload.dtype: can be timed (execution.trainer: cost-only) but not",
        ),
        (
            "workload: {codec: {gradients: int9}}",
            "mine.yaml:2: workload.codec.gradients.kind: unknown kind 'int9'; allowed: fp32, bf16, fp16, int8, int4,",
        ),
        ("workload: {codec: {gradients: 8}}", "mine.yaml:2: workload.codec.gradients: expected the name of a codec or"),
        (
            "workload: {codec: {activations: int8, gradients: {kind: topk, frac: 0}}}",
            "mine.yaml:2: workload.codec.gradients.frac: expected a number greater than 0, got 0",
        ),
        (
            "workload: {codec: {activations: {kind: int8, frac: 0.1}}}",
            "mine.yaml:2: workload.codec.activations.frac: unknown key; allowed: kind",
        ),
        (
            "workload: {codec: {activations: topk, gradients: {kind: topk, frac: 0.2}}}",
            "mine.yaml:2: workload.codec.gradients: must be as for activations, whose indices are used again;",
        ),
        (
            "workload: {codec: {activations: topk, gradients: randtopk}}",
            "mine.yaml:2: workload.codec.gradients: must be as for activations, whose indices are used again;",
        ),
        (
            "workload: {partition: {kind: idd}}",
            "mine.yaml:2: workload.partition.kind: unknown kind 'idd'; allowed: length-dirichlet, iid, quantity-",
        ),
        (
            "workload: {optimizer: {learning_rate: fast}}",
            "mine.yaml:2: workload.optimizer.learning_rate: expected a number, got 'fast'",
        ),
        ("evaluation: {held_out_frac: 1}", "mine.yaml:2: evaluation.held_out_frac: expected a number less than 1"),
        (
            "evaluation: {targets: {perplexity: [30, 1]}}",
            "mine.yaml:2: evaluation.targets.perplexity.1: expected a number greater than 1",
        ),
        (
            "execution: {device: gpu}",
            "mine.yaml:2: execution.device: expected auto, cpu, cuda, or one GPU such as cuda:0",
        ),
        ("label: &a hi", "mine.yaml:2: label: anchors are not allowed (&a)"),
        ("folder: /tmp", "mine.yaml:2: folder: unknown key; allowed: name, label, seed, rounds, "),
        ("notes: [x]", "mine.yaml:2: notes: unknown key; allowed: name, label, seed, rounds, "),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_allowed(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(tmp_path, FLEET_YAML + text)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("fleet", "expected"),
    [
        ("", "mine.yaml:1: fleet: this key is required"),
        ("fleet: {}", "mine.yaml:2: fleet.clients: a fleet needs 'clients', or 'mixture' with 'count'"),
        ("fleet: {clients: []}", "mine.yaml:2: fleet.clients: expected a list of 1 or more"),
        ("fleet: {mixture: phones-2024}", "mine.yaml:2: fleet.count: a mixture needs the number of clients"),
        ("fleet: {mixture: phones-2024, count: 0}", "mine.yaml:2: fleet.count: expected a number of at least 1, got 0"),
        (
            "fleet: {clients: [{device: a, network: b}], mixture: phones-2024, count: 3}",
            "mine.yaml:2: fleet.mixture: excludes 'clients': keep one of the two, got 'phones-2024'",
        ),
        (
            "fleet: {clients: [{device: a, network: b}], count: 3}",
            "mine.yaml:2: fleet.count: belongs to a mixture; in a list each group of clients has its own count, got 3",
        ),
        ("fleet: {clients: [{device: a}]}", "mine.yaml:2: fleet.clients.0.network: this key is required"),
        (
            "fleet: {clients: [{device: {id: a}, network: b}]}",
            "mine.yaml:2: fleet.clients.0.device: expected text, got a mapping",
        ),
        (
            "fleet: {clients: [{device: a, network: b, counts: 3}]}",
            "mine.yaml:2: fleet.clients.0.counts: unknown key; allowed: device, network, via, count; did you mean",
        ),
    ],
)
def test_a_fleet_is_a_list_of_clients_or_a_mixture_with_a_count(tmp_path: Path, fleet: str, expected: str) -> None:
    (problem,) = problems(tmp_path, f"rounds: 1\n{fleet}")
    assert problem.startswith(expected)


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    bomb = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    found = problems(tmp_path, FLEET_YAML + "\n".join(bomb))
    assert found[0] == "mine.yaml:2: a0: anchors are not allowed (&a0)"
    assert any("aliases are not allowed (*a0)" in problem for problem in found)


@pytest.mark.parametrize("text", ["- rounds: 3", "quickstart", "3"])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("mine.yaml:1: expected a mapping")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "# nothing\n") == ["mine.yaml: the file is empty"]


def test_all_problems_are_reported_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = """\
name: ../x
rounds: true
workload:
  batch_sise: 4
  lora:
    rank: 4
    cut_rank: 6
  optimizer: {eps: 0}
fleet:
  clients:
    - device: rpi5-8gb
      network: lan-1gbe
    - device: rpi5-8gb
      count: -2
policy:
  kind: splitft
  min_cut: 5
"""
    places = [problem.split(": ")[:2] for problem in problems(tmp_path, text)]
    assert places == [
        ["mine.yaml:1", "name"],
        ["mine.yaml:2", "rounds"],
        ["mine.yaml:4", "workload.batch_sise"],
        ["mine.yaml:7", "workload.lora.cut_rank"],
        ["mine.yaml:8", "workload.optimizer.eps"],
        ["mine.yaml:13", "fleet.clients.1.network"],  # missing: the line of the client that lacks it
        ["mine.yaml:14", "fleet.clients.1.count"],
        ["mine.yaml:15", "policy.initial_cut"],  # 2 by default, below min_cut: the line of the section
    ]


def test_a_misspelt_shipped_name_gets_a_suggestion() -> None:
    with pytest.raises(InputError) as raised:
        Scenario.load("quikstart")
    assert str(raised.value) == (
        "quikstart: no such file, and no shipped scenario of this name; "
        f"shipped scenarios: {', '.join(shipped())}; did you mean 'quickstart'?"
    )


def test_a_path_that_does_not_exist_is_told_as_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/quickstart\.yaml: no such file.*did you mean 'quickstart'"):
        Scenario.load(tmp_path / "nowhere" / "quickstart.yaml")
    with pytest.raises(InputError, match="no such file"):
        Scenario.load("x" * 5000)  # longer than any file system allows


def test_a_folder_is_not_a_scenario(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; name the YAML file in it"):
        Scenario.load(tmp_path)


def test_plain_data_is_checked_as_a_file_is() -> None:
    with pytest.raises(InputError) as raised:
        Scenario.from_mapping({"fleet": FLEET, "stop_at_s": float("nan"), "seed": {"data": -1}})
    keys = [(problem.key, problem.file) for problem in raised.value.problems]
    assert keys == [("seed.data", "scenario"), ("stop_at_s", "scenario")]


def test_sections_built_in_python_are_checked_too() -> None:
    with pytest.raises(ValueError, match=r"must not exceed rank \(4\)"):
        LoraSection(rank=4)
    with pytest.raises(ValueError, match="valid integer"):
        Scenario(fleet=FleetSection(mixture="phones-2024", count=True))
    with pytest.raises(ValueError, match="expected the name of a dataset"):
        WorkloadSection(dataset=3)  # type: ignore[arg-type]


# --- what is written


BRIEFLY = settings(max_examples=40, deadline=None)  # the first example also pays for building the schema

IDS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
COUNTS = st.integers(1, MAX_COUNT)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
SEEDS = st.integers(0, 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
PARTS = st.floats(0, 1, exclude_min=True, exclude_max=True)


def section(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return mappings with any of the keys."""
    return st.fixed_dictionaries({}, optional=keys)


def policies() -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.tuples(COUNTS, COUNTS, COUNTS).map(sorted)
    splitft = st.builds(
        lambda cuts, rest: {"min_cut": cuts[0], "initial_cut": cuts[1], "max_cut": cuts[2], **rest},
        bounds,
        section(kind=st.just("splitft"), gamma_perf=POSITIVE, every=COUNTS, max_move=COUNTS),
    )
    fixed = st.fixed_dictionaries({"kind": st.just("fixed")}, optional={"cut": COUNTS})
    per_device = st.fixed_dictionaries(
        {"kind": st.just("per-device")}, optional={"cuts": st.dictionaries(IDS, COUNTS, max_size=3), "default": COUNTS}
    )
    moving = st.builds(
        lambda kind, cuts, rest: {"kind": kind, "min_cut": cuts[0], "max_cut": cuts[1], **rest},
        st.sampled_from(["random", "optimal", "dtfl", "memory-greedy", "rate-threshold", "weighted-cost", "bandit"]),
        st.tuples(COUNTS, COUNTS).map(sorted),
        section(every=COUNTS),
    )
    settings = st.dictionaries(TEXTS, st.booleans() | COUNTS | POSITIVE | TEXTS, max_size=3)
    own = st.fixed_dictionaries(
        {"kind": st.sampled_from(["a/b.py:c", "package.module:name"])}, optional={"settings": settings}
    )
    return st.one_of(splitft, fixed, per_device, moving, own)


CLIENT = st.fixed_dictionaries({"device": IDS, "network": IDS}, optional={"via": st.none() | IDS, "count": COUNTS})
SCENARIOS = st.fixed_dictionaries(
    {
        "fleet": st.one_of(
            st.fixed_dictionaries({"clients": st.lists(CLIENT, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"mixture": IDS, "count": COUNTS}),
        )
    },
    optional={
        "name": IDS,
        "label": TEXTS,
        "seed": SEEDS | section(fleet=SEEDS, data=SEEDS, training=SEEDS),
        "stop_at_s": st.none() | POSITIVE,
        "workload": section(
            model=TEXTS,
            dataset=TEXTS | st.fixed_dictionaries({"source": TEXTS}, optional={"config": st.none() | TEXTS}),
            dtype=st.sampled_from(["float32", "bfloat16"]),
            optimizer=section(learning_rate=POSITIVE, betas=st.lists(PARTS, min_size=2, max_size=2)),
            lora=section(cut_rank=st.integers(1, 16), targets=st.just("mlp") | st.lists(TEXTS, min_size=1, max_size=3)),
            partition=section(alpha=POSITIVE, bins=st.sampled_from(["quantile", "equal-width"])),
        ),
        "policy": policies(),
        "evaluation": section(targets=section(perplexity=st.lists(st.floats(1.5, 1e9), max_size=3))),
        "execution": section(device=st.sampled_from(["auto", "cpu", "cuda", "cuda:11"])),
    },
)


@BRIEFLY
@given(SCENARIOS)
def test_plain_data_gives_back_an_equal_scenario(mapping: dict[str, Any]) -> None:
    scenario = Scenario.from_mapping(mapping)
    plain = to_mapping(scenario)
    assert Scenario.from_mapping(plain) == scenario
    assert json.loads(json.dumps(plain)) == plain  # nothing but plain data
    assert to_mapping(Scenario.from_mapping(plain)) == plain  # and already canonical


@BRIEFLY
@given(SCENARIOS)
def test_yaml_gives_back_an_equal_scenario(mapping: dict[str, Any]) -> None:
    scenario = Scenario.from_mapping(mapping)
    assert Scenario.from_mapping(parse_document(to_yaml(scenario), "written.yaml").data) == scenario


@BRIEFLY
@given(mapping=SCENARIOS, name=IDS, label=TEXTS)
def test_names_and_execution_stay_out_of_the_fingerprint(mapping: dict[str, Any], name: str, label: str) -> None:
    renamed = mapping | {"name": name, "label": label, "execution": {"trainer": "cost-only", "device": "cpu"}}
    assert fingerprint_payload(Scenario.from_mapping(renamed)) == fingerprint_payload(Scenario.from_mapping(mapping))


@pytest.mark.parametrize(
    "override",
    [
        "seed.fleet=1",
        "rounds=7",
        "stop_at_s=1",
        "workload.dropout=0.1",
        "fleet.clients.0.count=2",
        "server.slots=2",
        "protocol.aggregator=fedavg",
        "policy.gamma_perf=0",
        "evaluation.max_samples=10",
    ],
)
def test_everything_else_is_in_the_fingerprint(override: str) -> None:
    changed = Scenario.load("quickstart", [override])
    assert fingerprint_payload(changed) != fingerprint_payload(Scenario.load("quickstart"))


def test_the_order_of_keys_in_a_file_is_not_in_the_fingerprint() -> None:
    cuts = {"rpi5-8gb": 1, "rpi4-8gb": 2}
    mapping = {"fleet": FLEET, "policy": {"kind": "per-device", "cuts": cuts}}
    turned = {"policy": {"cuts": dict(reversed(cuts.items())), "kind": "per-device"}, "fleet": FLEET}
    assert fingerprint_payload(Scenario.from_mapping(turned)) == fingerprint_payload(Scenario.from_mapping(mapping))


def test_yaml_has_its_keys_in_the_order_of_the_documentation() -> None:
    written = parse_document(to_yaml(Scenario.load("quickstart")), "written.yaml").data
    # `stop_at_s` is None and left out.
    assert list(written)[:6] == ["name", "label", "seed", "rounds", "workload", "fleet"]
    assert list(written["fleet"]["clients"][0]) == ["device", "network", "count"]


def test_reading_plain_data_leaves_it_as_it_is() -> None:
    mapping = {"fleet": FLEET, "policy": {"min_cut": 2}, "workload": {"partition": {}}}
    before = copy.deepcopy(mapping)
    Scenario.from_mapping(mapping)
    assert mapping == before


# --- what is shipped


def test_shipped_scenarios_load_and_are_named_after_their_files() -> None:
    assert {"quickstart", "cost-only-phones"} <= set(shipped())
    for name in shipped():
        scenario = Scenario.load(name)
        assert scenario.name == name
        assert scenario.label  # what `splitft scenarios list` shows


def key_paths(data: object, prefix: str = "") -> set[str]:
    if not isinstance(data, dict):
        return set()
    return {prefix + key for key in data} | {p for key in data for p in key_paths(data[key], f"{prefix}{key}.")}


def all_keys(value: object, prefix: str = "") -> set[str]:
    """Return the dotted path of every field of nested dataclasses."""
    if not dataclasses.is_dataclass(value):
        return set()
    names = [field.name for field in dataclasses.fields(value)]
    return {prefix + n for n in names} | {p for n in names for p in all_keys(getattr(value, n), f"{prefix}{n}.")}


def test_the_template_shows_every_key_at_its_default(tmp_path: Path) -> None:
    path = write(tmp_path, template("mine"))
    scenario = Scenario.load(path)
    plain = to_mapping(scenario)
    assert scenario == Scenario.from_mapping({"name": "mine", "fleet": plain["fleet"]})
    # The mixture is the other form of a fleet; where a scenario came from is no key.
    unwritten = {"fleet.mixture", "fleet.count", "folder", "notes", "file", "overrides", "source"}
    assert key_paths(read_document(path).data) == all_keys(dataclasses.replace(scenario, source=None)) - unwritten


def test_the_template_refuses_a_name_that_is_not_an_id() -> None:
    with pytest.raises(InputError, match=r"^'\.\./x' is no id"):
        template("../x")


def test_what_the_template_has_in_comments_loads_too(tmp_path: Path) -> None:
    """Comments that show another kind of a section are of the form `# key: {...}`."""
    shown = [line.split("# ", 1)[1] for line in template("mine").splitlines() if line.strip().startswith("# p")]
    kinds = set()
    for line in shown:
        flow = line[: line.rindex("}") + 1]
        text = f"workload:\n  {flow}" if flow.startswith("partition") else flow
        scenario = load(tmp_path, FLEET_YAML + text)
        kinds |= {scenario.policy.kind, scenario.protocol.kind, scenario.workload.partition.kind}
    protocols = {"sl", "sfl-v1", "sfl-v2", "sfl-pipelined", "local-loss", "u-shape", "fed-lora", "fedbuff"}
    policies = {*POLICIES, "mine.py:half"}
    assert kinds == {*policies, "length-dirichlet", "iid", "quantity-skew", *protocols}


def test_what_the_template_shows_of_selections_loads_too(tmp_path: Path) -> None:
    shown = [line[2:] for line in template("mine").splitlines() if line.startswith("# selection")]
    kinds = {load(tmp_path, FLEET_YAML + line[: line.rindex("}") + 1]).selection.kind for line in shown}
    assert kinds == {*SELECTIONS, "oort", "mine.py:choose"} - {"all"}


def test_the_template_is_not_listed_as_shipped() -> None:
    assert all((FOLDER / f"{name}.yaml").is_file() for name in shipped())
    assert "new" not in shipped()


def test_reading_a_scenario_needs_neither_torch_nor_the_clock() -> None:
    code = (
        "import sys; from simulator.scenario import Scenario; Scenario.load('quickstart'); "
        "print(sorted({'torch', 'simpy', 'transformers', 'peft'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert shown.stdout.strip() == "[]"

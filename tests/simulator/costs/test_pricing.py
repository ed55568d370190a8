"""Learn with one model, charge the clock for another."""

import json
from pathlib import Path
from typing import Any

import pytest

import splitft
from devices.problems import InputError
from simulator.costs.cost import ProfiledCosts
from simulator.costs.memory import MemoryModel, max_feasible_cut
from simulator.costs.prediction import predict
from simulator.learning.recipe import recipe_of
from simulator.manifest import describe
from simulator.scenario import Scenario
from simulator.setting import Setting, resolve
from splitft.checking import check_json
from tests.small_run import SMALL, small
from workloads.known_shapes import resolve_shape
from workloads.pricing import priced_cut
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets

COST_ONLY = {"trainer": "cost-only"}
GPT2 = ModelShape.from_config(resolve_shape("gpt2").config)
LORA = LoraSpec(targets=lora_targets(GPT2, "attention"), rank=16, cut_rank=8, cut_rank_sides="both")
NUM_BLOCKS = 8  # of tiny


def scenario(priced_as: str | None, folder: Path | None = None, **workload: object) -> Scenario:
    changes = {**SMALL["workload"], "dataset": "lengths", **workload}
    changes |= {} if priced_as is None else {"priced_as": priced_as}
    return Scenario.from_mapping({**SMALL, "workload": changes, "execution": COST_ONLY}, folder)


def setting(priced_as: str | None, folder: Path | None = None, **workload: object) -> Setting:
    return resolve(scenario(priced_as, folder, **workload))


def costs_of(made: Setting, **changes: object) -> ProfiledCosts:
    workload = made.scenario.workload
    return ProfiledCosts(
        shape=GPT2,
        lora=LORA,
        dtype=workload.dtype,
        activation_codec=workload.codec.up,
        gradient_codec=workload.codec.down,
        device_table=made.fleet.device_table,
        device_index=made.fleet.device_index,
        server=made.server,
        **changes,
    )


@pytest.mark.parametrize("cut", range(1, NUM_BLOCKS))
def test_every_cost_is_that_of_the_priced_model_at_the_priced_cut(cut: int) -> None:
    made = setting("gpt2")
    alone, there = costs_of(made), priced_cut(cut, NUM_BLOCKS, 12)
    for client in range(3):
        assert made.costs.step(client, cut, 4, 32) == alone.step(client, there, 4, 32)
        assert made.costs.validation(client, cut, 4, 32) == alone.validation(client, there, 4, 32)
        assert made.costs.round(client, cut) == alone.round(client, there)
    assert made.costs.aggregate_s([(0, cut), (1, 1)]) == alone.aggregate_s([(0, there), (1, priced_cut(1, 8, 12))])


def test_a_model_that_is_not_split_is_priced_whole() -> None:
    made = setting("gpt2")
    assert made.costs.round(0, NUM_BLOCKS) == costs_of(made).round(0, 12)


def test_memory_is_that_of_the_priced_model_and_max_cut_counts_blocks_of_the_one_that_learns() -> None:
    made = setting("llama-3.2-3b")
    priced = made.models.charged_shape
    memory = MemoryModel(
        shape=priced,
        lora=made.models.charged_lora,
        dtype="float32",
        batch_size=2,
        length_tokens=32,
    )
    deepest = [max_feasible_cut(device, memory) for device in made.fleet.device_table]
    assert min(deepest) < priced.num_blocks - 1  # some device cannot hold all of it
    for number, fits in enumerate(deepest):
        cuts = [cut for cut in range(1, NUM_BLOCKS) if made.models.priced_cut(cut) <= fits]
        assert made.max_cuts[number] == max(cuts, default=0)
    assert made.memory.client(3) == memory.client(priced_cut(3, NUM_BLOCKS, priced.num_blocks))
    assert made.memory.server([3], steps_at_once=1) == memory.server([priced_cut(3, NUM_BLOCKS, 28)], steps_at_once=1)


def test_tables_speak_of_both_cuts() -> None:
    run = splitft.run(scenario("llama-3.2-1b"))
    assert set(zip(run.clients.cut, run.clients.priced_cut, strict=True)) == {(2, 4)}  # 2 of 8 blocks, 4 of 16
    plain = splitft.run(scenario(None))
    assert (plain.clients.cut == plain.clients.priced_cut).all()
    assert run.summary.simulated_s > plain.summary.simulated_s


def test_check_shows_the_priced_model_and_its_cuts() -> None:
    made = setting("gpt2")
    found = predict(made)
    assert [(row.cut, row.priced_cut) for row in found.cuts] == [
        (1, 2), (2, 3), (3, 4), (4, 6), (5, 8), (6, 9), (7, 10)
    ]  # fmt: skip
    shown = check_json(made)
    assert shown["priced_as"] == "gpt2"
    assert shown["cuts"][0]["priced_cut"] == 2


def test_what_is_learned_is_the_same_and_what_identifies_the_run_is_not() -> None:
    plain, priced = (
        resolve(small(workload={**SMALL["workload"], **changes})) for changes in ({}, {"priced_as": "gpt2"})
    )
    assert recipe_of(plain, "here") == recipe_of(priced, "here")
    assert describe(plain, None)["fingerprint"] != describe(priced, None)["fingerprint"]


def test_another_shape_under_the_same_path_is_another_run(tmp_path: Path) -> None:
    config = resolve_shape("gpt2").config
    fingerprints = []
    for num_blocks in (12, 10):
        (tmp_path / "mine.json").write_text(json.dumps({**config, "n_layer": num_blocks}))
        fingerprints.append(describe(setting("mine.json", tmp_path), None)["fingerprint"])
    assert fingerprints[0] != fingerprints[1]


def test_a_config_json_beside_the_scenario_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(resolve_shape("gpt2").config))
    assert setting("mine.json", tmp_path).models.charged_shape == GPT2


def test_a_model_that_is_here_can_be_charged_for_too() -> None:
    made = setting("tiny", model="gpt2")
    assert made.models.priced_cut(3) == 2  # 3 * 8 / 12
    assert made.models.charged_shape.num_blocks == NUM_BLOCKS


@pytest.mark.parametrize(
    ("word", "names"), [("attention", ["attn.c_attn", "attn.c_proj"]), ("mlp", ["mlp.c_fc", "mlp.c_proj"])]
)
def test_words_for_lora_targets_mean_what_they_mean_in_each_family(word: str, names: list[str]) -> None:
    lora = setting("gpt2", lora={"targets": word}).models.charged_lora
    assert [linear.name for linear in lora.targets] == names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"priced_as": "gpt-2"}, r"workload\.priced_as: unknown model 'gpt-2'; did you mean 'gpt2'\?"),
        (
            {"lora": {"targets": ["q_proj"]}},
            r"workload\.lora\.targets: priced_as gpt2: .* gpt2 has no module 'q_proj'; it has attn\.c_attn,",
        ),
        (
            {"max_length_tokens": 2000, "model": "opt-125m"},
            r"workload\.max_length_tokens: gpt2 takes at most 1024 tokens",
        ),
        (
            {"lora": {"rank": 800, "cut_rank": 8}, "model": "opt-1.3b"},
            r"workload\.lora\.rank: the narrowest adapted layer of gpt2 is 768 wide: a rank is at most that, got 800",
        ),
    ],
)
def test_what_the_priced_model_cannot_do_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        setting(**{"priced_as": "gpt2", **changes})


def test_a_priced_model_needs_two_blocks(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps({**resolve_shape("gpt2").config, "n_layer": 1}))
    with pytest.raises(InputError, match=r"workload\.priced_as: .*one\.json has a single block"):
        setting("one.json", tmp_path)


def test_a_shape_alone_can_be_timed(tmp_path: Path) -> None:
    run = splitft.run(scenario(None, model="qwen2.5-0.5b", max_length_tokens=64))
    assert (run.clients.max_cut < 24).all()  # blocks of its own
    with pytest.raises(InputError, match=r"workload\.model: model 'qwen2\.5-0\.5b' is known by its shape alone"):
        resolve(small(workload={**SMALL["workload"], "model": "qwen2.5-0.5b"}))


def test_the_text_of_a_shape_alone_is_as_long_as_the_bundled_tokenizer_makes_it() -> None:
    of_shape, of_tiny = (setting(None, model=model, dataset="pydocs") for model in ("gpt2", "tiny"))
    assert of_shape.data.padded_steps(0, 1) == of_tiny.data.padded_steps(0, 1)
    assert any("tiny's tokenizer" in note for note in of_shape.notes)
    assert not any("tiny's tokenizer" in note for note in (*of_tiny.notes, *setting(None, model="gpt2").notes))


def test_models_list_and_show_tell_shapes_from_models(capsys: pytest.CaptureFixture[str]) -> None:
    from splitft.model_listing import list_models, show_model

    list_models()
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "bundled" in rows["tiny"]
    assert "shape alone" in rows["llama-3.2-1b"]
    assert "1,235,814,400" in rows["llama-3.2-1b"]
    show_model("gpt2-xl")
    assert "none: known by its shape alone" in capsys.readouterr().out

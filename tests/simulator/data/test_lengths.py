"""Samples of which there is only the length: how they are drawn, and what a run of the clock alone makes of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import splitft
from devices.problems import InputError
from simulator.data.drawn_lengths import DrawnLengths, drawn
from simulator.scenario import Scenario, to_mapping
from tests.small_run import SMALL, small

COST_ONLY = {"trainer": "cost-only"}


def workload(dataset: object, **changes: object) -> dict[str, object]:
    return {"max_length_tokens": 128, "batch_size": 4, "local_steps": 3, "dataset": dataset, **changes}


def scenario(dataset: object, *, seed: int = 0, **changes: object) -> Scenario:
    return small(workload=workload(dataset, **changes), execution=COST_ONLY, seed=seed)


def data(dataset: object, *, num_clients: int = 50, seed: int = 0, **changes: object) -> DrawnLengths:
    made = scenario(dataset, seed=seed, **changes)
    return drawn(made, made.workload.dataset, num_clients)


def steps_of(samples: DrawnLengths) -> list[object]:
    return [samples.padded_steps(client, number) for client in range(10) for number in (1, 2, 7)]


def test_a_clients_lengths_follow_from_the_seed_and_its_number_alone() -> None:
    few, many = data("lengths", num_clients=10), data("lengths", num_clients=1_000_000)
    assert steps_of(few) == steps_of(many)
    assert steps_of(few) == list(reversed([many.padded_steps(c, r) for c in range(9, -1, -1) for r in (7, 2, 1)]))
    assert steps_of(few) != steps_of(data("lengths", num_clients=10, seed=1))
    assert len({few.padded_steps(client, 1) for client in range(10)}) == 10


def test_a_million_clients_take_no_memory_until_they_take_part() -> None:
    num_samples = data("lengths", num_clients=1_000_000).num_samples
    assert len(num_samples) == 1_000_000
    assert num_samples.strides == (0,)  # one number, seen a million times


def test_an_epoch_reads_every_sample_once_and_validation_the_others() -> None:
    # 23 samples: validation takes 0.2 * 23 = 4.6, rounded 5, and training 18, which 2 rounds of 3 x 3 read once
    samples = data(
        {"source": "lengths", "samples_per_client": 23},
        batch_size=3,
        validation={"frac": 0.2, "max_samples": 8},
    )
    assert list(samples.num_samples[:2]) == [18, 18]
    for client in range(5):
        lengths = samples._lengths(client)
        read = sum(step.num_real_tokens for number in (1, 2) for step in samples.padded_steps(client, number))
        validated = samples.padded_validation(client)
        assert read == lengths[:18].sum()
        assert [batch.num_samples for batch in validated] == [3, 2]
        assert sum(batch.num_real_tokens for batch in validated) == lengths[18:].sum()


def test_epochs_differ_in_order() -> None:
    samples = data({"source": "lengths", "samples_per_client": 13}, validation={"frac": 0.05, "max_samples": 1})
    assert samples.num_training == 12  # an epoch is one round of 3 x 4
    assert len({samples.padded_steps(0, number) for number in range(1, 6)}) > 1


def test_lognormal_lengths_have_the_median_and_the_spread_asked_for() -> None:
    samples = data(
        {"source": "lengths", "median_tokens": 100, "sigma": 0.5, "samples_per_client": 100}, max_length_tokens=512
    )
    logs = np.log(np.concatenate([samples._lengths(client) for client in range(200)]))
    # Standard errors with n = 20,000: of a normal's median 1.2533 sigma / sqrt(n) = 0.0044, of its deviation
    # sigma / sqrt(2 n) = 0.0025; rounding to whole tokens and the cut at 512 (3.3 sigma) move less. Five of them.
    assert np.median(logs) == pytest.approx(math.log(100), abs=0.022)
    assert logs.std() == pytest.approx(0.5, abs=0.0125)


def test_uniform_lengths_take_every_value_from_least_to_largest() -> None:
    samples = data({"source": "lengths", "distribution": "uniform", "min_tokens": 5, "max_tokens": 9})
    assert set(np.concatenate([samples._lengths(client) for client in range(20)])) == {5, 6, 7, 8, 9}


def test_fixed_lengths_are_all_the_same() -> None:
    samples = data({"source": "lengths", "distribution": "fixed", "tokens": 40})
    step = samples.padded_steps(3, 2)[0]
    assert (step.num_samples, step.length_tokens, step.num_real_tokens) == (4, 40, 160)


@given(
    dataset=st.one_of(
        st.fixed_dictionaries({"median_tokens": st.integers(1, 300), "sigma": st.floats(0.01, 3)}),
        st.fixed_dictionaries({"distribution": st.just("fixed"), "tokens": st.integers(1, 300)}),
        st.fixed_dictionaries({"distribution": st.just("uniform"), "max_tokens": st.integers(16, 300)}),
    ),
    max_length_tokens=st.integers(2, 256),
)
def test_no_sample_is_shorter_than_two_tokens_or_longer_than_said(
    dataset: dict[str, object], max_length_tokens: int
) -> None:
    samples = data({"source": "lengths", **dataset}, max_length_tokens=max_length_tokens)
    lengths = np.concatenate([samples._lengths(client) for client in range(3)])
    assert lengths.min() >= 2
    assert lengths.max() <= samples.longest_tokens <= max_length_tokens


def test_a_run_trains_on_as_many_tokens_as_its_clients_drew() -> None:
    run = splitft.run(scenario("lengths"))
    expected = data("lengths", num_clients=3)
    for row in run.clients.itertuples():
        assert row.num_tokens == sum(s.num_real_tokens for s in expected.padded_steps(row.client, row.round))
    assert run.evals.empty


def test_a_word_means_lognormal_lengths_with_all_defaults() -> None:
    assert to_mapping(scenario("lengths"))["workload"]["dataset"] == {
        "source": "lengths",
        "distribution": "lognormal",
        "median_tokens": 64,
        "sigma": 0.8,
        "samples_per_client": 64,
    }
    assert Scenario.from_mapping(to_mapping(scenario("lengths"))) == scenario("lengths")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"distribution": "normal"}, r"workload\.dataset: unknown distribution 'normal'; allowed: lognormal, uniform,"),
        ({"sigm": 1.0}, r"dataset\.sigm: unknown key; allowed: source, .*; did you mean 'sigma'\?"),
        ({"text_column": "text"}, r"dataset\.text_column: unknown key; allowed: source, distribution, median_tokens"),
        ({"sigma": 0.0}, r"dataset\.sigma: expected a number greater than 0"),
        ({"median_tokens": 1.5}, r"dataset\.median_tokens: expected a whole number, got 1\.5"),
        (
            {"distribution": "uniform", "min_tokens": 9, "max_tokens": 8},
            r"dataset\.min_tokens: must not exceed max_tokens \(8\)",
        ),
    ],
)
def test_a_mistake_in_the_section_is_named(dataset: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        scenario({"source": "lengths", **dataset})


def test_lengths_cannot_be_learned_from() -> None:
    with pytest.raises(InputError, match=r"workload\.dataset: can be timed .* not learned from: there is no text"):
        Scenario.from_mapping({**SMALL, "workload": workload("lengths")})

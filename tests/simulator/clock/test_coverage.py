"""Whole scenarios with everything that can go wrong: where every participant's time went, without gap or overlap."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import splitft
from simulator.scenario import Scenario

fractions = st.floats(min_value=0.0, max_value=0.9)

selections = st.one_of(
    st.just({"kind": "all"}),
    st.fixed_dictionaries({"kind": st.just("random"), "count": st.integers(1, 6)}),
    st.fixed_dictionaries({"kind": st.just("deadline"), "deadline_s": st.floats(1.0, 200.0)}),
    st.fixed_dictionaries(
        {
            "kind": st.just("over-commit"),
            "count": st.integers(1, 4),
            "factor": st.floats(1.0, 3.0),
            "deadline_s": st.none() | st.floats(1.0, 200.0),
        }
    ),
)
availabilities = st.one_of(
    st.fixed_dictionaries({"kind": st.just("always-on"), "failure_frac": fractions}),
    st.fixed_dictionaries(
        {"kind": st.just("bernoulli"), "available_frac": st.floats(0.3, 1.0), "failure_frac": fractions}
    ),
    st.fixed_dictionaries(
        {"kind": st.just("catalogue"), "start_h": st.floats(0.0, 23.0), "failure_frac": st.none() | fractions}
    ),
)
policies = st.one_of(
    st.fixed_dictionaries({"kind": st.just("fixed"), "cut": st.integers(1, 4)}),
    st.fixed_dictionaries({"kind": st.just("splitft"), "gamma_perf": st.sampled_from([0.0, 0.5])}),
)
scenarios = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "rounds": st.just(3),
        "workload": st.fixed_dictionaries(
            {"dataset": st.just("lengths"), "local_steps": st.integers(1, 3), "batch_size": st.sampled_from([2, 8])}
        ),
        "fleet": st.fixed_dictionaries({"mixture": st.just("phones-2024"), "count": st.just(12)}),
        "server": st.fixed_dictionaries(
            {
                "network": st.sampled_from(["lan-10gbe", "us-fixed-user-2025"]),
                "slots": st.sampled_from([1, 12]),
                "outages": st.just([]) | st.just([{"start_s": 5.0, "end_s": 30.0}]),
            }
        ),
        # In the others a client does several things at once, or is at work when the run ends.
        "protocol": st.fixed_dictionaries(
            {"kind": st.sampled_from(["sl", "sfl-v1", "sfl-v2", "local-loss", "u-shape", "fed-lora"])}
        ),
        "policy": policies,
        "selection": selections,
        "availability": availabilities,
        "execution": st.just({"trainer": "cost-only"}),
    }
)


@settings(max_examples=36, deadline=None)
@given(scenarios)
def test_every_instant_of_a_participant_is_covered_by_exactly_one_span(sections):
    run = splitft.run(Scenario.from_mapping(sections))
    spans = run.spans[run.spans.client >= 0].sort_values(["round", "client", "start_s", "span_id"])
    rounds = run.rounds.set_index("round")
    assert set(spans.groupby(["round", "client"]).groups) == set(
        zip(run.clients["round"], run.clients.client, strict=True)
    )
    for (number, _), own in spans.groupby(["round", "client"]):
        # From the round's start to its end, each span begins where the one before has ended, to the bit.
        edges = np.append(own.start_s.to_numpy(), rounds.end_s[number])
        assert edges[0] == rounds.start_s[number]
        assert (own.end_s.to_numpy() == edges[1:]).all()

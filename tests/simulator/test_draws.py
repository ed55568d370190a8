import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.draws import generator, uniforms

small = st.integers(0, 2**20)


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**63 - 1),
    pairs=st.lists(st.tuples(st.integers(0, 10_000_000), st.integers(0, 2**31 - 1)), min_size=1, max_size=5),
    step=st.integers(0, 2**20),
)
def test_uniform_numbers_of_many_clients_are_those_of_each_ones_generator(seed, pairs, step):
    clients, rounds = (np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True))
    drawn = uniforms(seed, "purpose", clients=clients, round=rounds, step=step)
    for row, (client, number) in zip(drawn, pairs, strict=True):
        own = generator(seed, "purpose", client=client, round=number, step=step)
        assert row.tolist() == own.random(4).tolist()


def test_one_round_may_stand_for_all_clients_and_many_clients_are_no_different_from_few():
    everybody = uniforms(3, "purpose", clients=np.arange(20_000), round=7)
    assert everybody.shape == (20_000, 4)
    some = np.array([0, 8191, 8192, 19_999])
    assert (uniforms(3, "purpose", clients=some, round=np.full(4, 7)) == everybody[some]).all()


def test_numbers_are_uniform_and_depend_on_every_argument():
    drawn = uniforms(0, "purpose", clients=np.arange(10_000), round=1)
    assert 0 <= drawn.min() < 0.001
    assert 0.999 < drawn.max() < 1
    assert np.abs(drawn.mean(axis=0) - 0.5).max() < 0.015  # five standard errors of 1 / sqrt(12 * 10,000)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.05
    others = [
        uniforms(1, "purpose", clients=np.arange(10_000), round=1),
        uniforms(0, "other", clients=np.arange(10_000), round=1),
        uniforms(0, "purpose", clients=np.arange(10_000), round=2),
        uniforms(0, "purpose", clients=np.arange(10_000), round=1, step=1),
        uniforms(0, "purpose", clients=np.arange(10_000, 20_000), round=1),
    ]
    assert all((other != drawn).all() for other in others)


def test_nobody_draws_nothing():
    assert uniforms(0, "purpose", clients=np.array([], dtype=np.int64)).shape == (0, 4)

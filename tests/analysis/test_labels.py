"""Labels that are as short as may be, and still tell settings apart."""

import pandas as pd
import pytest

from analysis.labels import short_labels, short_labels_of


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["my-net", "lan"], ["my-net", "lan"]),
        (["{kind: fixed, cut: 2}", "{kind: splitft}"], ["fixed", "splitft"]),
        (
            ["{kind: fixed, cut: 1}", "{kind: fixed, cut: 2}", "{kind: splitft, every: 2}"],
            ["fixed, cut: 1", "fixed, cut: 2", "splitft"],
        ),
        # the second is the default of its kind: what the first says tells them apart
        (["{kind: splitft, gamma_perf: 0.0}", "{kind: splitft}"], ["splitft, gamma_perf: 0.0", "splitft"]),
        (["{cut: 1, every: 2}", "{cut: 2, every: 2}"], ["cut: 1", "cut: 2"]),
        (["{kind: fixed, cut: 2}"], ["fixed"]),
        (["-", "{kind: a, of: {kind: b, n: 1}}"], ["-", "a"]),
        (["fixed", "{kind: fixed, cut: 1}"], ["fixed", "{kind: fixed, cut: 1}"]),  # would be the same
    ],
)
def test_sections_are_told_apart_by_their_kind_and_those_of_a_kind_by_what_differs(values, labels):
    assert short_labels(values) == labels


def test_labels_of_several_keys_are_short_in_each():
    frame = pd.DataFrame({"policy": ["{kind: fixed, cut: 2}", "{kind: splitft}"] * 2, "slots": [1, 1, 4, 4]})
    assert list(short_labels_of(frame, ["policy", "slots"])) == ["fixed, 1", "splitft, 1", "fixed, 4", "splitft, 4"]
    assert list(short_labels_of(frame, [])) == [""] * 4

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.lanes import free_lanes


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), max_size=12))
def test_spans_in_a_lane_never_overlap_and_lanes_are_as_few_as_possible(intervals: list[tuple[int, int]]) -> None:
    rows = [(index, start, start + length) for index, (start, length) in enumerate(intervals)]
    spans = pd.DataFrame(rows, columns=["span_id", "start_s", "end_s"])
    lanes = free_lanes(spans)
    for _, lane in spans.groupby(lanes):
        ordered = lane.sort_values("start_s")
        assert (ordered["start_s"].to_numpy()[1:] >= ordered["end_s"].to_numpy()[:-1]).all()
    at_once = [((spans["start_s"] <= t) & (t < spans["end_s"])).sum() for t in range(26)]
    assert lanes.nunique() == max(at_once)

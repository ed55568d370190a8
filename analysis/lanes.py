"""Spans that overlap, side by side."""

import heapq

import pandas as pd


def free_lanes(spans: pd.DataFrame) -> pd.Series:
    """Return a lane for each span so that no two in one lane overlap: the lowest one free at its start, from 0.

    Args:
        spans: with `start_s`, `end_s` and `span_id`.
    """
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    lanes = {}
    ordered = spans.sort_values(["start_s", "span_id"])
    for index, start_s, end_s in zip(ordered.index, ordered["start_s"], ordered["end_s"], strict=True):
        while busy and busy[0][0] <= start_s:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        lanes[index] = lane
        heapq.heappush(busy, (end_s, lane))
    return pd.Series(lanes, name="lane", dtype=int).reindex(spans.index)

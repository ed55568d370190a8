"""Slots and queues: hand-derived times, who follows whom, and what must hold for any jobs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from simulator.clock.server import Discipline, Job, Server


@dataclass(frozen=True)
class Work:
    """Work that arrives at a time, and the time to cancel it if any."""

    arrive_s: float
    service_s: float
    priority: float = 0.0
    cancel_s: float | None = None
    tag: object = None


def run(discipline: Discipline, slots: int, *works: Work) -> list[tuple[Job, float, float]]:
    """Return each job, when it ended and the service it received."""
    env = simpy.Environment()
    server = Server(env, slots, discipline)
    ends: dict[int, tuple[Job, float, float]] = {}

    def bring(number: int, work: Work) -> simpy.events.ProcessGenerator:
        yield env.timeout(work.arrive_s)
        job = server.serve(work.service_s, priority=work.priority, tag=work.tag)
        if work.cancel_s is not None:
            env.process(cancel(job, work.cancel_s))
        received_s = yield job
        ends[number] = (job, env.now, received_s)

    def cancel(job: Job, cancel_s: float) -> simpy.events.ProcessGenerator:
        yield env.timeout(cancel_s - env.now)
        job.cancel()

    for number, work in enumerate(works):
        env.process(bring(number, work))
    env.run()
    return [ends[number] for number in range(len(works))]


def starts_and_ends(discipline: Discipline, slots: int, *works: Work) -> list[tuple[float, float]]:
    return [(job.started_s, end_s) for job, end_s, _ in run(discipline, slots, *works)]


# ---- hand-derived times


def test_a_client_waits_while_the_server_is_busy() -> None:
    # The first is served from 1 to 4 s. The second comes at 2 s, waits until 4 s and is served until 6 s.
    assert starts_and_ends("fifo", 1, Work(1.0, 3.0), Work(2.0, 2.0)) == [(1.0, 4.0), (4.0, 6.0)]


def test_n_slots_serve_n_jobs_at_once_each_at_full_speed() -> None:
    # The third waits for the one that is done first, the second at 2 s.
    jobs = starts_and_ends("fifo", 2, Work(0.0, 3.0), Work(0.0, 2.0), Work(1.0, 1.0))
    assert jobs == [(0.0, 3.0), (0.0, 2.0), (2.0, 3.0)]


def test_fifo_takes_no_notice_of_priorities() -> None:
    jobs = starts_and_ends("fifo", 1, Work(0.0, 1.0), Work(0.0, 1.0, 1.0), Work(0.0, 1.0, 2.0))
    assert [start_s for start_s, _ in jobs] == [0.0, 1.0, 2.0]


def test_the_largest_priority_is_next_in_order_of_arrival_among_equals_and_interrupts_nobody() -> None:
    # The first is alone when it comes. Then 5 (at 2 s), the two with 3 in their order, and 1.
    jobs = starts_and_ends(
        "priority",
        1,
        Work(0.0, 4.0),
        Work(1.0, 1.0, 3.0),
        Work(1.0, 1.0, 1.0),
        Work(1.0, 1.0, 3.0),
        Work(2.0, 1.0, 5.0),
    )
    assert [start_s for start_s, _ in jobs] == [0.0, 5.0, 7.0, 6.0, 4.0]


def test_processor_sharing_lets_everybody_in_at_an_equal_part_of_the_speed() -> None:
    # Two accelerators. 0-1 s: one job at speed 1. From 1 s three jobs at 2/3: the second's 2 s take until 4 s, and the
    # first has 4 - 1 - 2 = 1 left, the third 3 - 2 = 1. From 4 s two jobs at speed 1: both end at 5 s.
    jobs = starts_and_ends("processor-sharing", 2, Work(0.0, 4.0), Work(1.0, 2.0), Work(1.0, 3.0))
    assert [start_s for start_s, _ in jobs] == [0.0, 1.0, 1.0]
    assert [end_s for _, end_s in jobs] == pytest.approx([5.0, 4.0, 5.0])


def test_work_that_takes_no_time_still_waits_for_its_turn() -> None:
    assert starts_and_ends("fifo", 1, Work(0.0, 2.0), Work(1.0, 0.0)) == [(0.0, 2.0), (2.0, 2.0)]
    assert starts_and_ends("processor-sharing", 1, Work(0.0, 2.0), Work(1.0, 0.0)) == [(0.0, 2.0), (1.0, 1.0)]


# ---- cancelling


def test_a_job_that_is_cancelled_while_it_waits_received_nothing_and_delays_nobody() -> None:
    jobs = run("fifo", 1, Work(0.0, 3.0), Work(1.0, 9.0, cancel_s=2.0), Work(1.0, 1.0))
    assert [(end_s, received_s) for _, end_s, received_s in jobs] == [(3.0, 3.0), (2.0, 0.0), (4.0, 1.0)]
    assert math.isnan(jobs[1][0].started_s)


def test_a_job_that_is_cancelled_in_service_frees_its_slot_at_once() -> None:
    jobs = run("fifo", 1, Work(0.0, 9.0, cancel_s=2.0), Work(1.0, 1.0))
    assert [(end_s, received_s) for _, end_s, received_s in jobs] == [(2.0, 2.0), (3.0, 1.0)]


def test_a_job_that_is_cancelled_under_processor_sharing_leaves_its_part_to_the_others() -> None:
    # Half speed each until 2 s: 1 s of service each. Then the other has 1 s left at full speed.
    jobs = run("processor-sharing", 1, Work(0.0, 9.0, cancel_s=2.0), Work(0.0, 2.0))
    assert [(end_s, received_s) for _, end_s, received_s in jobs] == [(2.0, 1.0), (3.0, 2.0)]


@pytest.mark.parametrize("discipline", ["fifo", "priority", "processor-sharing"])
@pytest.mark.parametrize("cancel_s", [3.0, 4.0])
def test_cancelling_a_job_that_has_ended_changes_nothing(discipline: Discipline, cancel_s: float) -> None:
    ((_, end_s, received_s),) = run(discipline, 1, Work(0.0, 3.0, cancel_s=cancel_s))
    assert (end_s, received_s) == (3.0, 3.0)


def test_requests_that_are_given_up_do_not_pile_up() -> None:
    env = simpy.Environment()
    server = Server(env, 1)
    server.serve(1.0)
    for _ in range(1_000):
        server.serve(1.0).cancel()
    assert len(server._waiting) < 100


# ---- slots to keep, and who follows whom


def test_a_slot_is_kept_until_it_is_released() -> None:
    env = simpy.Environment()
    server = Server(env, 1)
    turn = server.request()
    job = server.serve(1.0)

    def hold() -> simpy.events.ProcessGenerator:
        yield turn
        yield env.timeout(2.5)
        turn.release()
        turn.release()  # a second time changes nothing

    env.process(hold())
    env.run(job)
    assert (turn.started_s, job.started_s, env.now) == (0.0, 2.5, 3.5)


def test_a_request_that_is_withdrawn_never_fires_and_leaves_its_place_to_the_next() -> None:
    env = simpy.Environment()
    server = Server(env, 1)
    server.serve(2.0)
    withdrawn, job = server.request(), server.serve(1.0)
    withdrawn.release()
    env.run()
    assert not withdrawn.triggered
    assert job.started_s == 2.0


def test_a_job_knows_what_the_one_before_it_in_the_slot_left_behind() -> None:
    jobs = run("fifo", 1, Work(0.0, 2.0, tag="a"), Work(1.0, 1.0, tag="b"), Work(1.0, 1.0, tag="c"), Work(9.0, 1.0))
    assert [job.cause for job, _, _ in jobs] == [None, "a", "b", None]  # the last one came to an idle server


@pytest.mark.parametrize(
    ("slots", "discipline", "message"),
    [(0, "fifo", "at least 1 slot"), (1, "lifo", "allowed: fifo, priority, processor-sharing")],
)
def test_a_server_that_makes_no_sense_is_refused(slots: int, discipline: Discipline, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Server(simpy.Environment(), slots, discipline)


@pytest.mark.parametrize("service_s", [-1.0, math.nan, math.inf])
def test_a_service_time_that_makes_no_sense_is_refused(service_s: float) -> None:
    with pytest.raises(ValueError, match="finite time"):
        Server(simpy.Environment(), 1).serve(service_s)


def test_a_priority_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="priority"):
        Server(simpy.Environment(), 1, "priority").serve(1.0, priority=math.nan)


def test_there_is_no_slot_to_keep_under_processor_sharing() -> None:
    with pytest.raises(ValueError, match=r"serve\(\)"):
        Server(simpy.Environment(), 1, "processor-sharing").request()


# ---- what must hold for any jobs

arrivals = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5), st.integers(0, 2)), min_size=1, max_size=15)


def _works(jobs: Sequence[tuple[float, float, int]]) -> list[Work]:
    return [Work(arrive_s, service_s, float(priority)) for arrive_s, service_s, priority in jobs]


@given(arrivals, st.integers(1, 3), st.sampled_from(["fifo", "priority"]))
def test_no_more_jobs_than_slots_are_in_service_and_none_waits_while_one_is_free(
    jobs: list[tuple[float, float, int]], slots: int, discipline: Discipline
) -> None:
    works = _works(jobs)
    spans = starts_and_ends(discipline, slots, *works)
    for work, (start_s, end_s) in zip(works, spans, strict=True):
        assert start_s >= work.arrive_s
        assert end_s == start_s + work.service_s  # to the bit
        in_service = [(s, e) for s, e in spans if s <= start_s < e]
        assert len(in_service) <= slots
        if start_s > work.arrive_s:  # it had to wait: at every moment before, all slots were taken
            for moment_s in [work.arrive_s, *(e for _, e in spans if work.arrive_s <= e < start_s)]:
                assert sum(s <= moment_s < e for s, e in spans) + sum(e == moment_s for _, e in spans) >= slots


@given(arrivals, st.integers(1, 3))
def test_fifo_starts_jobs_in_the_order_of_their_arrival(jobs: list[tuple[float, float, int]], slots: int) -> None:
    works = _works(jobs)
    started = [start_s for start_s, _ in starts_and_ends("fifo", slots, *works)]
    by_arrival = sorted(range(len(works)), key=lambda i: works[i].arrive_s)  # stable: equal times in their order
    in_order = [started[i] for i in by_arrival]
    assert in_order == sorted(in_order)


@given(arrivals, st.integers(1, 3))
def test_processor_sharing_does_all_the_work_and_none_faster_than_an_accelerator(
    jobs: list[tuple[float, float, int]], slots: int
) -> None:
    works = _works(jobs)
    spans = starts_and_ends("processor-sharing", slots, *works)
    for work, (start_s, end_s) in zip(works, spans, strict=True):
        assert start_s == work.arrive_s
        assert end_s - start_s >= work.service_s * (1 - 1e-9) - 1e-9
    # Busy from the first arrival on in the worst case: the last end is at most the last arrival plus all work in a row.
    last_s = max(end_s for _, end_s in spans)
    assert last_s <= max(work.arrive_s for work in works) + sum(work.service_s for work in works) + 1e-9
    if slots == 1:
        # One accelerator never idles while there is work: the sharing of it ends when FIFO would.
        assert last_s == pytest.approx(
            max(end_s for _, end_s in starts_and_ends("fifo", 1, *works)), rel=1e-9, abs=1e-9
        )

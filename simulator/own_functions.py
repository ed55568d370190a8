"""The user's own policies and selections as a run calls them.

They are given what they cannot harm, and what they return is made sure of: whatever it is, a run goes on with what it
can use or ends with an error that names the user's file and what is wrong.
"""

import copy
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral, Real

import numpy as np

from devices.problems import shown
from simulator.own_code import OwnCode
from simulator.participation.oort import History, Ids
from simulator.participation.selection import Cohort
from simulator.policies.observation import Decision, Memory, Observation
from simulator.protocols.rounds import Terms
from simulator.sections.participation import OwnSelection


def checked_policy(own: OwnCode) -> Callable[..., Decision]:
    """Return the user's own policy; it raises InputError where it fails or decides what cannot be.

    A client to which it gives no reason gets its name as one. Its memory may be anything, and is handed back as it is.
    """
    function = own.load()

    def policy(seen: Sequence[Observation], memory: Memory, section: object) -> Decision:
        return own.answer(
            lambda: function(list(seen), memory, copy.deepcopy(section)),
            lambda returned: _decision(returned, seen, own.name),
        )

    return policy


def checked_selection(own: OwnCode) -> Callable[..., Cohort]:
    """Return the user's own selection; it raises InputError where it fails or chooses whom it may not.

    Clients may come in any order and collection.
    """
    function = own.load()

    def choose(reachable: Ids, rng: np.random.Generator, section: OwnSelection, history: History) -> Cohort:
        most = len(reachable) if section.count is None else min(section.count, len(reachable))
        return own.answer(
            lambda: function(reachable.copy(), rng, copy.deepcopy(section), _read_only(history)),
            lambda returned: _cohort(returned, reachable, most),
        )

    return choose


def _decision(returned: object, seen: Sequence[Observation], usual_reason: str) -> Decision:
    if not isinstance(returned, Decision):
        raise TypeError(f"expected a Decision, got {shown(returned)}")
    for name, by_client in (("cuts", returned.cuts), ("reasons", returned.reasons)):
        if not isinstance(by_client, Mapping):
            raise TypeError(f"expected {name} as a mapping by client, got {shown(by_client)}")
    return Decision(
        cuts={o.client: _cut(o, returned.cuts.get(o.client)) for o in seen},
        reasons={o.client: _reason(o, returned.reasons.get(o.client, usual_reason)) for o in seen},
        memory=returned.memory,
    )


def _cut(o: Observation, given: object) -> int:
    cut = _whole(given)
    if cut is None or cut not in o.allowed:
        allowed = f"whole numbers from {o.min_cut} to {o.max_cut}"
        raise ValueError(f"client {o.client} has the cut {shown(given)}; allowed: {allowed}")
    return cut


def _reason(o: Observation, reason: object) -> str:
    if not isinstance(reason, str) or not reason.isprintable():
        raise ValueError(f"client {o.client} has the reason {shown(reason)}; allowed: a line of printable text")
    return str(reason)


def _cohort(returned: object, reachable: Ids, most: int) -> Cohort:
    if not isinstance(returned, Cohort):
        raise TypeError(f"expected a Cohort, got {shown(returned)}")
    clients, num_times = np.unique(_numbers(returned.clients), return_counts=True)
    if not np.isin(clients, reachable).all():
        raise ValueError(f"client {clients[~np.isin(clients, reachable)][0]} is none of those who can be reached")
    if (num_times > 1).any():
        raise ValueError(f"client {clients[num_times > 1][0]} is there more than once")
    if not 0 < len(clients) <= most:
        raise ValueError(f"expected from 1 to {most:,} clients, got {len(clients):,}")
    return Cohort(clients=clients, terms=_terms(returned.terms))


def _numbers(clients: object) -> Ids:
    """Return the numbers of clients, in the order in which they are given."""
    if not isinstance(clients, np.ndarray | Collection):
        raise TypeError(f"expected clients as an array or another collection, got {shown(clients)}")
    numbers = clients if isinstance(clients, np.ndarray) else np.array(list(clients))
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        got = f"{numbers.ndim} dimension(s) of {numbers.dtype}"
        raise ValueError(f"expected clients as one row of whole numbers, got {got}")
    return numbers.astype(np.int64)


def _terms(terms: object) -> Terms:
    if not isinstance(terms, Terms):
        raise TypeError(f"expected terms as Terms, got {shown(terms)}")
    num_needed, deadline_s = _whole(terms.num_needed), terms.deadline_s
    if terms.num_needed is not None and (num_needed is None or num_needed < 1):
        raise ValueError(f"num_needed is {shown(terms.num_needed)}; allowed: whole numbers from 1 on, or None")
    if not isinstance(deadline_s, Real) or isinstance(deadline_s, bool) or not deadline_s > 0:
        raise ValueError(f"deadline_s is {shown(deadline_s)}; allowed: numbers above 0, or math.inf")
    return Terms(num_needed=num_needed, deadline_s=float(deadline_s))


def _whole(value: object) -> int | None:
    """Return a whole number, NumPy's too, as an int; None for anything else."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def _read_only(history: History) -> History:
    """Return the history as it is and goes on, in arrays that cannot be written to."""
    views = {name: values.view() for name, values in vars(history).items() if isinstance(values, np.ndarray)}
    for view in views.values():
        view.flags.writeable = False
    return dataclasses.replace(history, **views)

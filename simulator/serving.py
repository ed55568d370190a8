"""How the server serves under a protocol: what the protocol has a use for of the scenario's section `server`."""

import dataclasses

from simulator.scenario import Scenario
from simulator.sections.machines import ServerSection
from workloads.tasks import RULES_WITH_SHARED_SERVER


def serving(scenario: Scenario) -> ServerSection:
    """Return the section `server` as the scenario's protocol uses it.

    Where the server has one adapter for all clients, each step starts from what the one before it has made of it: one
    accelerator takes step after step, and others have nothing to do. In sfl-pipelined the largest remaining lag goes
    first, unless slots are shared. In local-loss nobody waits for a step, so that none is more urgent than another.
    """
    server, kind = scenario.server, scenario.protocol.kind
    if kind in RULES_WITH_SHARED_SERVER:
        discipline = "fifo" if server.discipline == "processor-sharing" else server.discipline
        return dataclasses.replace(server, slots=1, discipline=discipline)
    if kind == "sfl-pipelined" and server.discipline == "fifo":
        return dataclasses.replace(server, discipline="priority")
    if kind == "local-loss" and server.discipline == "priority":
        return dataclasses.replace(server, discipline="fifo")
    return server

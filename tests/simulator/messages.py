"""Messages for tests of the shared links: what is sent when, and when it arrives."""

from dataclasses import dataclass

import simpy

from simulator.network.fluid import Link, Network, Transfer


@dataclass(frozen=True)
class Sent:
    """A message to send at a time, and the time to cancel it if any."""

    start_s: float
    route: tuple[Link, ...]
    num_bytes: float
    latency_s: float = 0.0
    cancel_s: float | None = None
    weight: float = 1.0


def run(*messages: Sent) -> list[tuple[float, float]]:
    """Return when each message ended and how much of it was delivered."""
    env = simpy.Environment()
    network = Network(env)
    ends: dict[int, tuple[float, float]] = {}

    def send(number: int, message: Sent) -> simpy.events.ProcessGenerator:
        yield env.timeout(message.start_s)
        transfer = network.send(message.route, message.num_bytes, message.latency_s, message.weight)
        if message.cancel_s is not None:
            env.process(cancel(transfer, message.cancel_s))
        delivered = yield transfer
        ends[number] = (env.now, delivered)

    def cancel(transfer: Transfer, cancel_s: float) -> simpy.events.ProcessGenerator:
        yield env.timeout(cancel_s - env.now)
        transfer.cancel()

    for number, message in enumerate(messages):
        env.process(send(number, message))
    env.run()
    return [ends[number] for number in range(len(messages))]


def end_times(*messages: Sent) -> list[float]:
    return [end_s for end_s, _ in run(*messages)]

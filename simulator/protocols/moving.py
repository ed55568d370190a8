"""What goes over a client's link when its cut has moved. Every protocol with a cut begins a client's round with it."""

from simulator.clock.world import Participant, Steps
from simulator.protocols.rounds import ClientPlan


def move_cut(me: Participant, plan: ClientPlan) -> Steps:
    """Hand over what the client gives up, then fetch what it takes over; nothing where the cut has stayed."""
    if plan.move is None:
        return
    costs = me.world.costs.move(plan.cut, plan.move)
    yield from me.upload(("upload_moments", costs.moments_up_bytes))
    yield from me.download(("download_weights", costs.weights_bytes), ("download_moments", costs.moments_down_bytes))

"""What a scenario means for learning and for privacy, in words: the things that users are told rather than asked."""

from simulator.sections.protocol import LABELS_STAY, UNSPLIT
from simulator.setting import Setting
from workloads.tasks import LOSSLESS_CODECS, RULES_WITH_AUXILIARY_HEAD, RULES_WITH_SHARED_SERVER

LABELS_STAY_WORDS = "labels do not leave the device, and no activations do"
HEAD_STAYS_WORDS = "labels do not leave the device; activations and gradients do, at the cut and in front of the head"
LABELS_LEAVE = "labels leave the device, and in language modelling the labels are the text"


def privacy(setting: Setting) -> str:
    """Return what leaves the device besides adapters."""
    kind = setting.scenario.protocol.kind
    if kind in UNSPLIT:
        return LABELS_STAY_WORDS
    return HEAD_STAYS_WORDS if kind in LABELS_STAY else LABELS_LEAVE


def can_cut_affect_learning(setting: Setting) -> str:
    """Return whether where the model is cut can change what is learned, and through what.

    In exact split training it cannot: the parts compute what the whole model would. It can where the rank depends on
    the cut, where what passes the cut loses something, or where each part is clipped by its own norm or draws its own
    dropout.
    """
    workload = setting.scenario.workload
    if not setting.is_split:
        return "there is none: the model is not cut"
    codecs = {"activations": workload.codec.up, "gradients": workload.codec.down}
    ways = [
        (
            workload.lora.cut_rank_sides != "none" and workload.lora.cut_rank != workload.lora.rank,
            f"rank {workload.lora.cut_rank} instead of {workload.lora.rank} in the blocks at the cut",
        ),
        *((codec not in LOSSLESS_CODECS, f"{what} pass the cut as {codec}") for what, codec in codecs.items()),
        (workload.optimizer.max_grad_norm is not None, "gradients are clipped in each part by its own norm"),
        (setting.scenario.protocol.kind in RULES_WITH_AUXILIARY_HEAD, "clients learn from a head at the cut"),
        (
            setting.scenario.protocol.kind in RULES_WITH_SHARED_SERVER and len(setting.fleet) > 1,
            "what is on the server has one adapter and one optimizer for all clients",
        ),
        (workload.dropout > 0, "dropout draws in the order of the parts"),
    ]
    found = [way for holds, way in ways if holds]
    return f"yes: {'; '.join(found)}" if found else "no: it changes time, memory and energy only"

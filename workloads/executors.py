"""Which executor trains the clients of a round: decided without torch, by scenario and kind of device alone."""

from typing import Literal

ExecutorName = Literal["sequential", "fused"]
ExecutorChoice = Literal["auto", "sequential", "fused"]

# Up to so many padded tokens in a client's step a processor is mostly busy with starting kernels, and several clients
# at once keep it busier; above, it computes as fast for one.
MAX_SMALL_STEP_TOKENS = 512


def pick_executor(
    choice: ExecutorChoice, device: str, *, step_tokens: int, dropout: float, one_by_one: bool = False
) -> ExecutorName:
    """Return the executor for a choice; never by a timing, so that the same scenario always gives the same numbers.

    Args:
        choice: a name, or `auto`: `fused` on a GPU, and on a processor where steps are small.
        device: `cpu` or `cuda:0` (`workloads.machine.device_name`).
        step_tokens: the longest sample times the batch size.
        dropout: above 0 clients are trained one after another, whatever the choice: each draws for itself.
        one_by_one: whether the learning rule leaves no choice.
    """
    if dropout > 0 or one_by_one:
        return "sequential"
    if choice != "auto":
        return choice
    return "fused" if device != "cpu" or step_tokens <= MAX_SMALL_STEP_TOKENS else "sequential"

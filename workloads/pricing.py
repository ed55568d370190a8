"""Learn with one model, charge the clock for another: where a cut of the one lies in the other."""


def priced_cut(cut: int, num_blocks: int, num_priced_blocks: int) -> int:
    """Return the cut of the model that is charged for a cut of the model that learns.

    It is the same part of the depth, `cut * num_priced_blocks / num_blocks`, to the nearest whole block (halves to the
    even one), with at least one block on either side. All blocks of the one are all blocks of the other (no split).

    Args:
        cut: blocks of the model that learns on the client, 1..num_blocks.
        num_blocks: of the model that learns.
        num_priced_blocks: of the model that is charged.
    """
    if cut == num_blocks:
        return num_priced_blocks
    return max(1, min(round(cut * num_priced_blocks / num_blocks), num_priced_blocks - 1))

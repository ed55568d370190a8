"""Python's search for reference cycles, paused while it would find nothing."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Keep Python from searching for cycles, unless it was kept from that anyway.

    With many clients a round keeps millions of objects alive, and searching them again and again takes as long as the
    clock itself. It would be in vain: what a client leaves behind in cycles (its process, its links) is of the same
    size whatever it does, and the first search after the pause finds it among the young objects.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

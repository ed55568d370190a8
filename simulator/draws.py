"""Random numbers without a position: each is a function of (seed, purpose, client, round, step).

A counter-based generator (Philox 4x64, Salmon et al. 2011) is opened at the counter that the arguments name. Nothing
is ever "the next draw", so leaving out a client, resuming a run or changing a policy never shifts anybody's numbers.
"""

import hashlib

import numpy as np


def generator(seed: int, purpose: str, *, client: int = 0, round: int = 0, step: int = 0) -> np.random.Generator:  # noqa: A002
    """Return the stream of random numbers that belongs to these arguments and to nothing else.

    Streams of different arguments never overlap: the seed and the purpose make the key, and client, round and step
    are the three high words of the counter, of which a draw advances only the low one.
    """
    key = np.frombuffer(hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest(), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, step, round, client]))


def integer(seed: int, purpose: str) -> int:
    """Return one whole number in [0, 2**63) for a library that takes a seed rather than a generator."""
    return int(generator(seed, purpose).integers(2**63))

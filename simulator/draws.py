"""Random numbers without a position: each is a function of (seed, purpose, client, round, step).

A counter-based generator (Philox 4x64, Salmon et al. 2011) is opened at the counter that the arguments name. Nothing
is ever "the next draw", so leaving out a client, resuming a run or changing a policy never shifts anybody's numbers.
"""

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS: Final = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_KEY_STEPS: Final = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_NUM_PHILOX_ROUNDS: Final = 10
_LOW_HALF: Final = np.uint64(2**32 - 1)
_HALF: Final = np.uint64(32)
_CHUNK: Final = 8192  # clients at a time, so that the arrays in between stay in the processor's cache


def generator(seed: int, purpose: str, *, client: int = 0, round: int = 0, step: int = 0) -> np.random.Generator:  # noqa: A002
    """Return the stream of random numbers that belongs to these arguments and to nothing else.

    Streams of different arguments never overlap: the seed and the purpose make the key, and client, round and step
    are the three high words of the counter, of which a draw advances only the low one.
    """
    return np.random.Generator(np.random.Philox(key=_key(seed, purpose), counter=[0, step, round, client]))


def uniforms(
    seed: int,
    purpose: str,
    *,
    clients: NDArray[np.int64],
    round: NDArray[np.int64] | int = 0,  # noqa: A002
    step: int = 0,
) -> NDArray[np.float64]:
    """Return for each client the first four uniform numbers of its own `generator`, as an array [clients, 4].

    The same numbers to the bit, forty times as fast: what a generator computes is computed here for all clients at
    once. `round` is one for all, or one for each client.
    """
    rounds = np.broadcast_to(np.asarray(round, dtype=np.uint64), clients.shape)
    drawn = np.empty((len(clients), 4))
    for start in range(0, len(clients), _CHUNK):
        part = slice(start, start + _CHUNK)
        own = clients[part].astype(np.uint64)
        first = np.ones_like(own)  # numpy counts up before it draws
        words = _philox(_key(seed, purpose), (first, first * np.uint64(step), rounds[part], own))
        for place, word in enumerate(words):
            drawn[part, place] = (word >> np.uint64(11)) * 2.0**-53
    return drawn


def integer(seed: int, purpose: str) -> int:
    """Return one whole number in [0, 2**63) for a library that takes a seed rather than a generator."""
    return int(generator(seed, purpose).integers(2**63))


def _key(seed: int, purpose: str) -> NDArray[np.uint64]:
    return np.frombuffer(hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest(), dtype=np.uint64)


def _philox(key: NDArray[np.uint64], counter: tuple[NDArray[np.uint64], ...]) -> tuple[NDArray[np.uint64], ...]:
    """Return the four random words of each counter: Philox 4x64 with ten rounds (Salmon et al. 2011, section 4.3)."""
    keys = [int(key[0]), int(key[1])]
    c0, c1, c2, c3 = counter
    for _ in range(_NUM_PHILOX_ROUNDS):
        high0, low0 = _high_word(_MULTIPLIERS[0], c0), _MULTIPLIERS[0] * c0
        high1, low1 = _high_word(_MULTIPLIERS[1], c2), _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = high1 ^ c1 ^ np.uint64(keys[0]), low1, high0 ^ c3 ^ np.uint64(keys[1]), low0
        keys = [(word + step) % 2**64 for word, step in zip(keys, _KEY_STEPS, strict=True)]
    return c0, c1, c2, c3


def _high_word(factor: np.uint64, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the upper 64 bits of the products, by halves as in long multiplication."""
    factor_low, factor_high = factor & _LOW_HALF, factor >> _HALF
    low, high = words & _LOW_HALF, words >> _HALF
    carry = factor_high * low + ((factor_low * low) >> _HALF)
    crossed = factor_low * high + (carry & _LOW_HALF)
    product: NDArray[np.uint64] = factor_high * high + (carry >> _HALF) + (crossed >> _HALF)
    return product

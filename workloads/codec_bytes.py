"""How many bytes a tensor at the cut has on the wire. The torch side applies the codecs; a test compares sizes."""

from collections.abc import Callable, Mapping

# codec -> bytes of one token's vector of a given width
_TOKEN_BYTES: Mapping[str, Callable[[int], int]] = {
    "fp32": lambda hidden: 4 * hidden,
}


def encoded_bytes(codec: str, batch: int, tokens: int, hidden: int) -> int:
    """Return the encoded size of a (batch, tokens, hidden) tensor in bytes.

    Raises:
        ValueError: an unknown codec.
    """
    if codec not in _TOKEN_BYTES:
        raise ValueError(f"unknown codec {codec!r}; allowed: {', '.join(_TOKEN_BYTES)}")
    return batch * tokens * _TOKEN_BYTES[codec](hidden)

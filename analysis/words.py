"""Words for pictures and for tables alike."""


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 round` or `1,200 rounds`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"

"""Nested dicts, as configurations are."""

from collections.abc import Iterator, Mapping


def leaves(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield ("A.B", value) for every value that is no dict."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

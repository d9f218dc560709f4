"""Patterns in which `*` matches any run of characters, compared in linear time."""

from __future__ import annotations


def matches_wildcards(pattern: str, text: str) -> bool:
    """Return whether a pattern describes the whole text.

    Each part between two wildcards is searched for once, from the left. The leftmost occurrence
    leaves the most for the parts that follow, so nothing is ever tried again.
    """
    first, *parts = pattern.split("*")
    if not parts:
        return pattern == text
    *middle, last = parts
    end = len(text) - len(last)
    if not (text.startswith(first) and text.endswith(last)):
        return False
    position = len(first)
    for part in middle:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return position <= end

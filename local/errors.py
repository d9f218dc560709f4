"""What the person at the terminal has to know."""

__all__ = ["LaptopError"]


class LaptopError(Exception):
    """The laptop edition cannot go on; the message is one sentence that says what to do."""

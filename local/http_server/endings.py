"""Why a connection ends before its client wants it to."""

__all__ = ["BadRequestError", "BodyTooLargeError", "ClosedError"]


class BadRequestError(Exception):
    """The client's bytes are no request that can be answered; the connection ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class BodyTooLargeError(Exception):
    """The body is over the limit."""


class ClosedError(Exception):
    """The client is gone, or silent for too long."""

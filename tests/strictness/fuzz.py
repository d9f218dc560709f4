"""`make fuzz`: what we accept, PyJWT and joserfc accept, over very many mutated tokens.

python -m tests.strictness.fuzz [--examples 100000]
"""

import argparse
import sys
import time

from hypothesis import HealthCheck, Phase, given, settings

from tests.strictness.mutations import tokens
from tests.strictness.oracles import DisagreementError, compare

CHUNK = 5_000


class Tally:
    """How many examples there were, and how many of them we accepted."""

    def __init__(self) -> None:
        self.examples = 0
        self.accepted = 0
        self.distinct: set[int] = set()

    def run(self, examples: int) -> None:
        """Try that many examples.

        Raises:
            DisagreementError: with the smallest token that Hypothesis finds.
        """

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(tokens())
        def each(token: str) -> None:
            self.examples += 1
            self.distinct.add(hash(token))
            self.accepted += compare(token)

        each()


def main() -> int:
    """Fuzz and print the progress; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100_000)
    wanted = parser.parse_args().examples
    tally = Tally()
    started = time.monotonic()
    while tally.examples < wanted:
        try:
            tally.run(min(CHUNK, wanted - tally.examples))
        except DisagreementError as found:
            print(f"A counterexample after {tally.examples:,} examples: {found}", file=sys.stderr)
            return 1
        print(
            f"{tally.examples:>9,} of {wanted:,} examples, {len(tally.distinct):,} distinct tokens,"
            f" {tally.accepted:,} accepted by us and by both others,"
            f" {time.monotonic() - started:.0f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

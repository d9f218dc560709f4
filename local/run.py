"""`make run`: start everything on this machine, tell the story, stay up.

python -m local.run            start, show the walkthrough, stay up until Ctrl-C
python -m local.run --check    start, check every answer of the walkthrough, stop (exit 0 or 1)
"""

from __future__ import annotations

import sys

from local.cli import run_command


def main() -> int:
    """Run from the command line."""
    # Importing takes a while, and a Ctrl-C may come then, too.
    from local.session import run

    return run(check="--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run_command(main))

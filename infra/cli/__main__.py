"""The command `gatehouse`, also as `python -m infra.cli` in a checkout."""

import sys
from importlib.util import find_spec

_PACKAGES = ("boto3", "click", "jsonschema", "jwt", "rich", "yaml")


def main() -> None:
    """Run the command line, or name the extra that installs its packages."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        sys.exit(f"The command line needs {', '.join(missing)}: run pip install '<path of the wheel>[cli]'.")
    from .app import main as run

    run()


if __name__ == "__main__":
    main()

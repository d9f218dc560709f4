"""Write docs/reference: settings, errors, metrics, and the command line.

python -m infra.reference
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.command_line import reference as command_line
from infra.reference import errors_page, metrics_page, settings_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "settings.md": settings_page.write_page,
    "errors.md": errors_page.write_page,
    "metrics.md": metrics_page.write_page,
}
"""What writes each page that is ours; infra.command_line.reference has the others."""


def main() -> None:
    """Write the files."""
    for name, write_page in PAGES.items():
        (command_line.FOLDER / name).write_text(write_page(), encoding="utf-8")
        print(f"docs/reference/{name}")  # noqa: T201 - a command
    command_line.main()


if __name__ == "__main__":
    main()

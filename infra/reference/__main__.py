"""Write docs/reference: settings, errors, metrics, and the command line.

python -m infra.reference
"""

from collections.abc import Callable, Mapping

from infra.reference import settings
from infra.reference.pages import ROOT, cli_page, clients_schema, errors_page, metrics_page

PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings.write_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "cli.md": cli_page,
    "clients.schema.json": clients_schema,
}
"""The function that writes each page."""

FOLDER = ROOT / "docs" / "reference"


def main() -> None:
    """Write the files."""
    for name, write_page in PAGES.items():
        (FOLDER / name).write_text(write_page(), encoding="utf-8")
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()

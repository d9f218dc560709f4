"""`python -m infra.cli`, for a checkout without the console script."""

from .app import main

if __name__ == "__main__":
    main()

"""`python -m infra.command_line`, for a checkout without the console script."""

from infra.command_line.app import main

if __name__ == "__main__":
    main()

"""``python -m uamqp``, and the script ``uamqp``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say what is missing for it."""
    try:
        from .cli import app
    except ImportError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"The command line needs {error.name}. Install it with: pip install 'uamqp[cli]'")
    app()


if __name__ == "__main__":
    main()

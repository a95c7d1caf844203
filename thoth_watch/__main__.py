"""Entry point of `python -m thoth_watch` and `thoth-watch`."""

from thoth_watch.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()

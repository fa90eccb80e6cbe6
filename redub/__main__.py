"""``python -m redub`` is ``redub``."""

from redub.cli import main

if __name__ == "__main__":
    main()

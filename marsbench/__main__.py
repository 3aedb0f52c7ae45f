"""``python -m marsbench`` is ``marsbench``."""

from marsbench.cli import main

if __name__ == "__main__":
    main()

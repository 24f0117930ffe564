"""``python -m proxy`` is ``vestibule``."""

from proxy.cli import main

if __name__ == "__main__":
    main()

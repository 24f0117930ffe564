"""Apps to try Vestibule with: ``vestibule dev examples/main.py``."""

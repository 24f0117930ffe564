"""The whole of Vestibule, started as its user starts it, between real clients and real backends."""

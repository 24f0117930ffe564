"""Vestibule beside nginx, HAProxy and Caddy, measured in one run: ``python -m benchmarks.run``.

``docs/performance.md`` tells the method and shows the figures.
"""

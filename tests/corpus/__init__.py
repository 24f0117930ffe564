"""Hostile and odd HTTP/1.1 as data: raw bytes, and what must become of them.

``requests.REQUESTS`` and ``responses.RESPONSES`` hold the cases; ``model`` says what a verdict
means. The cases know nothing of sockets and engines: unit tests feed them to the parsers, the
end-to-end tests send them through a running proxy.
"""

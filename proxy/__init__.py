"""Vestibule's data plane, processes and command line.

The nouns, in the order a connection meets them:

*Listener*
    a listening socket, shared by all workers; it counts connections.
*Client connection*
    one accepted socket: first bytes, ClientHello, TLS session, then HTTP.
*Certificate index*
    server name to TLS context; read on every handshake, swapped on renewal.
*Site* and *route*
    what the configuration says about a host name, and about a path under it.
*Exchange*
    one request and its response, from whichever HTTP version it came.
*Pool*, *upstream*, *upstream connection*
    the backends of a route, one of them, and one socket to it.
*Parent*, *worker*, *manager*, *app*
    the processes; they meet in the store and in the notification channel.

``docs/architecture.md`` tells the whole; read it beside ``proxy.exchange``.
"""

__version__ = "0.1.0"

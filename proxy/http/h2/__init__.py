"""HTTP/2 (RFC 9113), pure: bytes in, calls of a handler out; no socket, and the clock is passed in.

A *connection* (:class:`~proxy.http.h2.connection.ServerConnection` towards clients,
:class:`~proxy.http.h2.client_connection.ClientConnection` towards ``h2c`` upstreams) carries
*streams*, each of them one request and its response. Its *owner* does the I/O: it gives received
bytes to ``receive``, writes what ``data_to_send`` gives, and calls ``sweep`` at intervals. What
happens is told to the connection's *handler*.

The life of a request, from frame to frame::

    receiving.py        bytes -> frames -> field blocks and DATA
      header_blocks.py    a field block -> fields, from memory or by HPACK (huffman.py)
      request_fields.py   fields -> DecodedRequest; what could smuggle is malformed
      flow_control.py     how much more of the body may come
    connection.py       opens the stream, calls on_request; later send_response, send_data
      field_encoder.py    fields -> a field block
    sending.py          frames and backlogs -> bytes, as windows allow
      priority.py         whose turn it is

Beside it stand the rules that hold at any time: which frame is legal in which state (streams.py),
how much of each is too much (floods.py), and what the peer has told us (settings.py).
"""

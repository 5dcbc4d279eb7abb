"""Echo with eventlet: one greenlet per connection. Python 3."""

import socket

import peer

with peer.package("eventlet"):
    import eventlet
    from eventlet.greenio import GreenSocket

MOST_CONNECTIONS = 100000  # eventlet's own limit is 1000


def echo(connection, address):
    try:
        while True:
            chunk = connection.recv(16384)
            if not chunk:
                break
            connection.sendall(chunk)
    except socket.error:
        pass  # the client has gone


eventlet.serve(GreenSocket(peer.listen()), echo, concurrency=MOST_CONNECTIONS)

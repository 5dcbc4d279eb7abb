"""Echo with gevent: one greenlet per connection. Runs in Python 2.7 and in Python 3."""

import socket

import peer

with peer.package("gevent"):
    from gevent import monkey
    from gevent.server import StreamServer

monkey.patch_all()


def echo(connection, address):
    try:
        while True:
            chunk = connection.recv(65536)
            if not chunk:
                break
            connection.sendall(chunk)
    except socket.error:
        pass  # the client has gone


StreamServer(peer.listen(), echo).serve_forever()

"""Echo with tornado: one coroutine per connection. Runs in Python 2.7 and in Python 3."""

import peer

with peer.package("tornado"):
    from tornado.gen import coroutine
    from tornado.ioloop import IOLoop
    from tornado.iostream import StreamClosedError
    from tornado.tcpserver import TCPServer


class Echo(TCPServer):
    @coroutine
    def handle_stream(self, stream, address):
        try:
            while True:
                chunk = yield stream.read_bytes(65536, partial=True)
                yield stream.write(chunk)
        except StreamClosedError:
            pass  # the client has finished or gone


server = Echo()
server.add_socket(peer.listen())
IOLoop.current().start()

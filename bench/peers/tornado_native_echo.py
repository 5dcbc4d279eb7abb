"""Echo with tornado: one native coroutine per connection. Python 3.8 or later."""

import asyncio

import peer

with peer.package("tornado"):
    from tornado.iostream import StreamClosedError
    from tornado.tcpserver import TCPServer


class Echo(TCPServer):
    async def handle_stream(self, stream, address):
        try:
            while True:
                chunk = await stream.read_bytes(65536, partial=True)
                await stream.write(chunk)
        except StreamClosedError:
            pass  # the client has finished or gone


async def main():
    server = Echo()
    server.add_socket(peer.listen())
    await asyncio.Event().wait()


asyncio.run(main())

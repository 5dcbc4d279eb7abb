"""Echo with asyncio's protocols: callbacks, no coroutine per connection. Python 3.8 or later."""

import asyncio

import peer


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    # A client that does not read is not read from.
    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, sock=peer.listen(), backlog=peer.BACKLOG)
    await server.serve_forever()


asyncio.run(main())

"""Echo with asyncio's streams on uvloop: one coroutine per connection. Python 3.8 or later."""

import asyncio

import peer

with peer.package("uvloop"):
    import uvloop


async def echo(reader, writer):
    try:
        while chunk := await reader.read(16384):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass  # the client has gone
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(echo, sock=peer.listen(), backlog=peer.BACKLOG)
    await server.serve_forever()


uvloop.install()
asyncio.run(main())

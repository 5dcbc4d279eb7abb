"""Echo with asyncio's streams: one coroutine per connection. Python 3.8 or later."""

import asyncio

import peer


async def echo(reader, writer):
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass  # the client has gone
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(echo, sock=peer.listen(), backlog=peer.BACKLOG)
    await server.serve_forever()


asyncio.run(main())

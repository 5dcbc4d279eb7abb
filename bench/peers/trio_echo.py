"""Echo with trio: one task per connection. Python 3.8 or later."""

import peer

with peer.package("trio"):
    import trio


async def echo(stream):
    try:
        while chunk := await stream.receive_some(16384):
            await stream.send_all(chunk)
    except trio.BrokenResourceError:
        pass  # the client has gone


async def main():
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(peer.listen()))
    await trio.serve_listeners(echo, [listener])


trio.run(main)

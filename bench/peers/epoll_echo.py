"""Echo with nothing but select.epoll. Runs in Python 2.7 and in Python 3."""

import errno
import select
import socket

import peer

listener = peer.listen()
poll = select.epoll()
poll.register(listener.fileno(), select.EPOLLIN)
connections = {}  # descriptor -> socket
unsent = {}  # descriptor -> bytes that its socket has not taken yet; it receives nothing meanwhile


def accept():
    connection = listener.accept()[0]
    connection.setblocking(False)
    connections[connection.fileno()] = connection
    poll.register(connection.fileno(), select.EPOLLIN)


def receive(descriptor):
    connection = connections[descriptor]
    try:
        chunk = connection.recv(65536)
    except socket.error as error:
        if error.errno == errno.EAGAIN:
            return
        chunk = b""
    if not chunk:  # the client has finished or gone
        del connections[descriptor]
        connection.close()
        return

    rest = send(connection, chunk)
    if rest:
        unsent[descriptor] = rest
        poll.modify(descriptor, select.EPOLLOUT)


def send_rest(descriptor):
    rest = send(connections[descriptor], unsent.pop(descriptor))
    if rest:
        unsent[descriptor] = rest
    else:
        poll.modify(descriptor, select.EPOLLIN)


def send(connection, chunk):
    """Returns what the socket did not take."""
    try:
        return chunk[connection.send(chunk) :]
    except socket.error as error:
        return chunk if error.errno == errno.EAGAIN else b""  # gone: the next receive reports it


while True:
    for descriptor, _ in poll.poll():
        if descriptor == listener.fileno():
            accept()
        elif descriptor in unsent:
            send_rest(descriptor)
        else:
            receive(descriptor)

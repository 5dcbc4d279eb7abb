"""A server that follows a test's script: it answers wrongly, late, in pieces, or not at all."""

import socket
import threading

from programs import HOST, PATIENCE_SECONDS

MESSAGE_BYTES = 64  # echo_bench's message, unless told otherwise


class ScriptedServer:
    """Serves each connection on its own thread with `script(connection, whole)`, where `whole()` receives
    the next whole message. The connection is closed when the script ends; a script ends when its
    client is gone."""

    def __init__(self, script, message_bytes=MESSAGE_BYTES):
        self.script, self.message_bytes = script, message_bytes
        self.connection_count, self.received = 0, []
        self.threads, self.failures = [], []

    def __enter__(self):
        self.listener = socket.create_server((HOST, 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()
        return self

    def accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return  # closed
            self.connection_count += 1
            thread = threading.Thread(target=self.serve, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def serve(self, connection):
        with connection:
            connection.settimeout(PATIENCE_SECONDS)
            try:
                self.script(connection, lambda: self.whole(connection))
            except (EOFError, ConnectionError):
                pass  # the client is gone
            except Exception as failure:  # reported by __exit__
                self.failures.append(failure)

    def whole(self, connection):
        message = bytearray()
        while len(message) < self.message_bytes:  # with a timeout MSG_WAITALL does not wait for all
            piece = connection.recv(self.message_bytes - len(message), socket.MSG_WAITALL)
            if not piece:
                raise EOFError
            message += piece
        self.received.append(bytes(message))
        return self.received[-1]

    def stop_listening(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def __exit__(self, failure, *_):
        try:
            self.stop_listening()
        except OSError:
            pass  # it has already
        self.acceptor.join(PATIENCE_SECONDS)
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
            if thread.is_alive() and failure is None:
                raise AssertionError("waiting for a scripted connection to end")
        if self.failures and failure is None:
            raise self.failures[0]

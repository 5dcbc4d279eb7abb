"""Echo with twisted: callbacks, no coroutine. Runs in Python 2.7 and in Python 3."""

import socket

import peer

with peer.package("twisted"):
    from twisted.internet import reactor
    from twisted.internet.interfaces import IHalfCloseableProtocol
    from twisted.internet.protocol import Factory, Protocol
    from zope.interface import implementer


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    def connectionMade(self):
        # The connection is its own producer: it stops reading from a client that does not read.
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data):
        self.transport.write(data)

    def readConnectionLost(self):
        self.transport.unregisterProducer()
        self.transport.loseConnection()  # after everything has been written

    def writeConnectionLost(self):
        pass


listener = peer.listen()
reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, Factory.forProtocol(Echo))
reactor.run()

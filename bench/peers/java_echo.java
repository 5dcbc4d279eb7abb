// Echo with Java's NIO: one selector, no thread per connection.

import java.io.IOException;
import java.net.BindException;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

class JavaEcho {
    static final int BUFFER_BYTES = 16 * 1024;
    static final int BACKLOG = 4096;
    static final int USAGE = 64, UNAVAILABLE = 69; // exit statuses, as in sysexits.h

    static void fail(int status, String line) {
        System.err.println(line);
        Runtime.getRuntime().halt(status);
    }

    static int port(String[] words) {
        boolean number = words.length == 1 && words[0].matches("[0-9]{1,5}");
        int port = number ? Integer.parseInt(words[0]) : 0;
        if (port < 1 || port > 65535)
            fail(USAGE, "usage: java_echo PORT    (echoes on 127.0.0.1:PORT; PORT is 1 to 65535)");
        return port;
    }

    static void accept(Selector selector, ServerSocketChannel listener) throws IOException {
        for (SocketChannel connection; (connection = listener.accept()) != null; ) {
            connection.configureBlocking(false);
            connection.setOption(StandardSocketOptions.TCP_NODELAY, true);
            ByteBuffer bytes = ByteBuffer.allocateDirect(BUFFER_BYTES).limit(0);
            connection.register(selector, SelectionKey.OP_READ, bytes);
        }
    }

    /** Reads only when everything has been written: a client that does not read is not read from. */
    static void echo(SelectionKey key) {
        SocketChannel connection = (SocketChannel) key.channel();
        ByteBuffer bytes = (ByteBuffer) key.attachment();
        try {
            if (!bytes.hasRemaining()) {
                int received = connection.read(bytes.clear());
                bytes.flip();
                if (received < 0) connection.close();
                if (received <= 0) return;
            }
            connection.write(bytes);
            int next = bytes.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ;
            if (key.interestOps() != next) key.interestOps(next);
        } catch (IOException gone) {
            close(connection);
        }
    }

    static void close(SocketChannel connection) {
        try {
            connection.close();
        } catch (IOException ignored) {
            // it is closed all the same
        }
    }

    public static void main(String[] words) throws IOException {
        int port = port(words);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(0)));
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.setOption(StandardSocketOptions.SO_REUSEADDR, true);
        listener.configureBlocking(false);
        try {
            listener.bind(new InetSocketAddress("127.0.0.1", port), BACKLOG);
        } catch (BindException error) {
            fail(UNAVAILABLE, "java_echo: 127.0.0.1:" + port + ": " + error.getMessage()
                    + " (another server runs there)");
        }
        listener.register(selector, SelectionKey.OP_ACCEPT);
        for (;;) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                if (key.isAcceptable()) accept(selector, listener);
                else echo(key);
            }
            selector.selectedKeys().clear();
        }
    }
}

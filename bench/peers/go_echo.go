// Echo in Go: one goroutine per connection, all on one thread at a time. With a certificate and its key, through TLS.
package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

const (
	bufferBytes = 16 * 1024
	usageError  = 64 // exit statuses, as in sysexits.h
	unavailable = 69
)

func fail(status int, line string) {
	fmt.Fprintln(os.Stderr, line)
	os.Exit(status)
}

func port() int {
	if len(os.Args) == 2 || len(os.Args) == 4 {
		if port, err := strconv.ParseUint(os.Args[1], 10, 16); err == nil && port > 0 {
			return int(port)
		}
	}
	fail(usageError, "usage: go_echo PORT [CERTIFICATE KEY]    (echoes on 127.0.0.1:PORT; PORT is 1 to 65535)")
	return 0
}

// Reads and writes by hand: io.Copy would splice, and never see the bytes.
func echo(connection net.Conn) {
	defer connection.Close()
	bytes := make([]byte, bufferBytes)
	for {
		received, err := connection.Read(bytes)
		if err != nil {
			return // the client has finished or gone
		}
		if _, err := connection.Write(bytes[:received]); err != nil {
			return
		}
	}
}

// Nothing, if it shall be plain.
func encryption() *tls.Config {
	if len(os.Args) != 4 {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(os.Args[2], os.Args[3])
	if err != nil {
		fail(unavailable, fmt.Sprintf("go_echo: %s", err))
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

func main() {
	runtime.GOMAXPROCS(1)
	// Go sets SO_REUSEADDR and TCP_NODELAY by itself; its backlog is net.core.somaxconn.
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port()}
	listener, err := net.ListenTCP("tcp4", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		fail(unavailable, fmt.Sprintf("go_echo: %s: %s (another server runs there)", address, syscall.EADDRINUSE))
	}
	config := encryption()
	for err == nil {
		var connection net.Conn
		if connection, err = listener.Accept(); err == nil {
			if config != nil {
				connection = tls.Server(connection, config)
			}
			go echo(connection)
		}
	}
	fail(unavailable, fmt.Sprintf("go_echo: %s", err))
}

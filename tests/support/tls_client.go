// A client through TLS by Go's crypto/tls: 200,000 bytes there and back, twice; tls_client HOST:PORT AUTHORITIES
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
)

func main() {
	pem, _ := os.ReadFile(os.Args[2])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for round := 0; round < 2; round++ {
		client, err := tls.Dial("tcp", os.Args[1], config)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		sent := make([]byte, 200000)
		for i := range sent {
			sent[i] = byte(i * 7)
		}
		go client.Write(sent)
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(client, got); err != nil || string(got) != string(sent) {
			fmt.Println("echo", err)
			os.Exit(1)
		}
		fmt.Println(tls.VersionTLS13 == client.ConnectionState().Version, client.ConnectionState().DidResume)
		client.CloseWrite()
		if n, err := client.Read(got); n != 0 || err != io.EOF {
			fmt.Println("end", n, err)
			os.Exit(1)
		}
		client.Close()
	}
}

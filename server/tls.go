package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certStale is how old the answer may be to whether the files of the certificate have changed.
const certStale = time.Second

// A certificate is a pair of PEM files. It is read again within a second of a change of one
// of them, when somebody connects. While the files do not fit each other, as between the two
// copies of a renewal, the last pair that did stays in use.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex // guards the fields below; two small local files are read under it
	pair   *tls.Certificate
	stamps [2]fileStamp
	looked time.Time
}

type fileStamp struct {
	modified time.Time
	size     int64
}

func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// read loads the files, if they are others than before. mu is held, or nobody else has c.
func (c *certificate) read() error {
	var stamps [2]fileStamp
	for i, file := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		stamps[i] = fileStamp{info.ModTime(), info.Size()}
	}
	if stamps == c.stamps {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS: %s with %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair, c.stamps = &pair, stamps
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= certStale {
		c.looked = now
		if err := c.read(); err != nil {
			c.log.Warn("the certificate is not renewed, the old one stays", "err", err)
		}
	}
	return c.pair, nil
}

// config is for HTTP/1.1 only: WebSockets need it, and the lane speaks nothing else.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get, NextProtos: []string{"http/1.1"}}
}

//go:build linux

package hostile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// recorder is a connection that keeps what went over it.
type recorder struct {
	net.Conn
	sent, received strings.Builder
}

func (r *recorder) Write(p []byte) (int, error) {
	r.sent.Write(p)
	return r.Conn.Write(p)
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.received.Write(p[:n])
	return n, err
}

// hello returns a ClientHello for this name, as one record.
func (s *service) hello(name string) string {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		c := s.tls.Clone()
		c.ServerName = name
		_ = tls.Client(client, c).HandshakeContext(s.t.Context()) // until the other end closes
	}()
	head := make([]byte, 5)
	_, err := io.ReadFull(server, head)
	s.must(err)
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	_, err = io.ReadFull(server, body)
	s.must(err)
	return string(head) + string(body)
}

// Handshakes that are not begun, come byte by byte, or are not finished, must
// come to an end (read_header).
func TestTLSHandshakesWithoutEnd(t *testing.T) {
	waits(t)
	s := startSecure(t, "h2")
	silent, slow, half := many(2000, 10_000), many(300, 1000), many(500, 1000)
	s.withstands(int64(many(300, 600))*mib, func(o *others) use {
		hello := s.hello(s.tls.ServerName)
		c := s.connectTo(s.secure, silent+slow+half, func(i int) string {
			switch {
			case i < silent:
				return ""
			case i < silent+slow:
				return hello[:len(hello)/2]
			}
			return hello
		})
		// On a slow machine, Caddy has closed some.
		if open := s.measured().descriptors; open < silent/4 {
			t.Errorf("%d of %d connections are open: this test shows nothing", open, len(c.conns))
		}
		o.areServed()
		trickle := &crowd{service: s, conns: c.conns[silent : silent+slow]}
		trickle.expectClosed("\x00")
		c.expectClosed("")
		o.areServed()
		return use{}
	})
}

// What is no TLS, or asks for a name that is not served, is refused at once.
func TestTLSPortGetsSomethingElse(t *testing.T) {
	s := startSecure(t, "h2")
	n := many(500, 20_000)
	const alert = "\x15\x03"
	tests := map[string]struct {
		send func(i int) string
		want []string // one begins the answer
	}{
		"HTTP":       {func(int) string { return "GET / HTTP/1.1\r\nHost: " + s.secure + "\r\n\r\n" }, []string{"HTTP/1.0 400 "}},
		"HTTP/2":     {func(int) string { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" }, []string{alert, ""}},
		"junk":       {func(i int) string { return strings.Repeat(string(rune('a'+i%26)), 100) }, []string{alert, ""}},
		"long hello": {func(int) string { return "\x16\x03\x01\x40\x00\x01\xff\xff\xff" + strings.Repeat("a", 16*kib) }, []string{alert, ""}},
		"SNI":        {func(i int) string { return s.hello(fmt.Sprintf("unknown%d.example.com", i)) }, []string{alert}},
	}
	s.withstands(250*mib, func(o *others) use {
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				if err := each(n, func(i int) error {
					got, err := s.refusal(tt.send(i))
					for _, want := range tt.want {
						if err == nil && strings.HasPrefix(got, want) {
							return nil
						}
					}
					return fmt.Errorf("answered %q, %w, want one of %q", got, err, tt.want)
				}); err != nil {
					t.Error(err)
				}
			})
		}
		o.areServed()
		return use{}
	})
}

// refusal connects, sends, and returns what Caddy says until it closes.
func (s *service) refusal(text string) (string, error) {
	conn, err := net.Dial("tcp", s.secure)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(rig.Patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return "", nil // refused before its end
	}
	answer, err := io.ReadAll(conn)
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() {
		return "", errors.New("the connection stays open")
	}
	return string(answer), nil
}

// After the handshake: another one, which Caddy does not do, and what is no
// record of this connection.
func TestTLSAfterTheHandshake(t *testing.T) {
	s := startSecure(t, "h2")
	n := many(50, 5000)
	const alert, handshake, data = 21, 22, 23
	tests := map[string]struct {
		text func(c *handshaken) string
		want string // is what Caddy says at the end of the connection
	}{
		"renegotiation":    {func(c *handshaken) string { return c.seal(handshake, c.hello()[5:]) }, "unexpected message"},
		"request for one":  {func(c *handshaken) string { return c.seal(handshake, "\x00\x00\x00\x00") }, "EOF"},
		"empty records":    {func(c *handshaken) string { return c.repeat(100, data, "") }, "unexpected message"},
		"warnings":         {func(c *handshaken) string { return c.repeat(100, alert, "\x01\x5a") }, "unexpected message"},
		"garbage":          {func(*handshaken) string { return strings.Repeat("garbage ", 100) }, "protocol version"},
		"unsealed record":  {func(*handshaken) string { return "\x17\x03\x03\x00\x40" + strings.Repeat("a", 0x40) }, "bad record MAC"},
		"oversized record": {func(*handshaken) string { return "\x17\x03\x03\xff\xff" }, "record overflow"},
	}
	s.withstands(200*mib, func(o *others) use {
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				if err := each(n, func(int) error {
					c, err := s.handshake()
					if err != nil {
						return err
					}
					defer c.raw.Close()
					if _, err := io.WriteString(c.raw, tt.text(c)); err != nil {
						return err
					}
					if _, err = c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), tt.want) {
						return fmt.Errorf("the connection ended with %w, want %s", err, tt.want)
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		o.areServed()
		return use{}
	})
}

// handshaken is a connection of TLS 1.2, whose records can be made by hand.
type handshaken struct {
	*tls.Conn
	raw    *recorder
	sealer cipher.AEAD
	nonce  []byte // the part that is not sent
	seq    uint64
}

func (s *service) handshake() (*handshaken, error) {
	conn, err := net.Dial("tcp", s.secure)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(rig.Patience)); err != nil {
		return nil, err
	}
	var log keyLog
	c := s.tlsFor("http/1.1")
	c.MaxVersion = tls.VersionTLS12
	c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	c.KeyLogWriter = &log
	raw := &recorder{Conn: conn}
	h := &handshaken{Conn: tls.Client(raw, c), raw: raw, seq: 1} // 0 was Finished
	if err := h.HandshakeContext(s.t.Context()); err != nil {
		conn.Close()
		return nil, err
	}
	return h, h.expandKeys(log.secret())
}

// expandKeys makes the client's keys of the connection (RFC 5246, section 6.3).
func (h *handshaken) expandKeys(secret []byte) error {
	const random, end = 5 + 4 + 2, 5 + 4 + 2 + 32 // of both hellos
	seed := "key expansion" + h.raw.received.String()[random:end] + h.raw.sent.String()[random:end]
	var keys []byte
	for a := seed; len(keys) < 40; {
		a = mac(secret, a)
		keys = append(keys, mac(secret, a+seed)...)
	}
	block, err := aes.NewCipher(keys[:16])
	if err != nil {
		return err
	}
	h.nonce = keys[32:36]
	h.sealer, err = cipher.NewGCM(block)
	return err
}

func mac(secret []byte, text string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(text))
	return string(h.Sum(nil))
}

// hello is the ClientHello of the connection.
func (h *handshaken) hello() string {
	sent := h.raw.sent.String()
	return sent[:5+int(binary.BigEndian.Uint16([]byte(sent[3:5])))]
}

// seal makes the next record of the connection (RFC 5288, section 3).
func (h *handshaken) seal(kind byte, text string) string {
	seq := binary.BigEndian.AppendUint64(nil, h.seq)
	h.seq++
	head := []byte{kind, 3, 3}
	with := binary.BigEndian.AppendUint16(append(seq[:8:8], head...), uint16(len(text)))
	sealed := h.sealer.Seal(seq[:8:8], append(h.nonce[:4:4], seq...), []byte(text), with)
	return string(binary.BigEndian.AppendUint16(head, uint16(len(sealed)))) + string(sealed)
}

func (h *handshaken) repeat(n int, kind byte, text string) string {
	var all strings.Builder
	for range n {
		all.WriteString(h.seal(kind, text))
	}
	return all.String()
}

// keyLog keeps the last secret that a handshake tells.
type keyLog struct {
	sync.Mutex
	last string
}

func (l *keyLog) Write(line []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	l.last = string(line)
	return len(line), nil
}

func (l *keyLog) secret() []byte {
	l.Lock()
	defer l.Unlock()
	fields := strings.Fields(l.last)
	if len(fields) != 3 {
		return nil
	}
	secret, _ := hex.DecodeString(fields[2]) // none: what is sealed with it will not do
	return secret
}

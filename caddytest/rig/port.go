package rig

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports are taken from below those that Linux gives to outgoing connections,
// so that none of these takes a port before its server listens.
const (
	firstPort = 12000
	lastPort  = 32000
)

var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: make(map[int]bool)}

// FreePort returns a TCP port that nobody listens on at 127.0.0.1, and never
// the same one twice.
func FreePort(t testing.TB) int {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if given.ports[port] {
			continue
		}
		l, err := net.Listen("tcp4", Loopback(port))
		if err != nil {
			continue
		}
		l.Close()
		given.ports[port] = true
		return port
	}
	t.Fatal("found no free TCP port")
	return 0
}

// Loopback returns the address of a port at 127.0.0.1.
func Loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

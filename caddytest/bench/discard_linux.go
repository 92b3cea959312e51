package main

import (
	"io"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unseen is where bytes go that nobody looks at. The kernel does not even write
// them there.
var unseen [1 << 20]byte

// discard reads n bytes and forgets them. Of a plain connection they are not even
// copied, so that a download costs what it costs the server.
func (c *conn) discard(n int) error {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		_, err := io.CopyN(io.Discard, c.Conn, int64(n))
		return err
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for n > 0 {
			m, _, errno := unix.Syscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&unseen[0])), uintptr(min(n, len(unseen))), unix.MSG_TRUNC, 0, 0) //nolint:gosec // as recv(2) has it
			switch {
			case errno == unix.EAGAIN:
				return false
			case errno == unix.EINTR:
				continue
			case errno != 0:
				failed = errno
				return true
			case m == 0:
				failed = io.ErrUnexpectedEOF
				return true
			}
			n -= int(m) //nolint:gosec // no more than was asked for
		}
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}

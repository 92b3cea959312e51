//go:build !linux

package main

import "io"

// discard reads n bytes and forgets them.
func (c *conn) discard(n int) error {
	_, err := io.CopyN(io.Discard, c.Conn, int64(n))
	return err
}

//go:build !linux || !amd64

package rig

import "errors"

func findClock() (uintptr, error) { return 0, errors.ErrUnsupported }

func writeClock(string, int64) error { return errors.ErrUnsupported }

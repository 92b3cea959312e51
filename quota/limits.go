// Package quota accounts exactly for the uploads of one JID. It is pure: it
// knows no clock, no store and no HTTP.
package quota

import (
	"fmt"
	"time"
)

// Window allows at most Limit units in any span of length Per.
type Window struct {
	// Limit in bytes or uploads.
	Limit int64
	// Per is the length of the span.
	Per time.Duration
}

// Limits are the limits of one JID. The zero value limits nothing.
type Limits struct {
	// MaxFileSize of one upload, in bytes; 0 is no limit.
	MaxFileSize int64
	// MaxTotalSize of all live files and waiting slots, in bytes; 0 is no limit.
	MaxTotalSize int64
	// Bytes that may be granted in any span.
	Bytes []Window
	// Uploads that may be granted in any span.
	Uploads []Window
}

// Span returns the longest span of a window, 0 if there is none: for so long
// must an account remember.
func (l Limits) Span() time.Duration {
	var span time.Duration
	for _, w := range l.Bytes {
		span = max(span, w.Per)
	}
	for _, w := range l.Uploads {
		span = max(span, w.Per)
	}
	return span
}

// CheckFileSize returns a *Refusal if a file of size bytes is too large.
func (l Limits) CheckFileSize(size int64) error {
	if l.MaxFileSize > 0 && size > l.MaxFileSize {
		return &Refusal{Code: FileTooLarge, Limit: l.MaxFileSize, Used: size}
	}
	return nil
}

// Code tells which limit refused an upload.
type Code string

// The limits that refuse.
const (
	FileTooLarge Code = "file_too_large"
	TotalQuota   Code = "total_quota"
	RateQuota    Code = "rate_quota"
)

// Refusal is the error of an upload that a limit does not allow.
type Refusal struct {
	Code Code
	// Limit that was exceeded and what is Used of it now: bytes, or uploads if
	// Uploads is set. For FileTooLarge, Used is the size that was asked for.
	Limit, Used int64
	Uploads     bool
	// Per is the span of the window, for RateQuota.
	Per time.Duration
	// RetryAfter is how long to wait until the same request would be granted
	// if nothing else came: exact, for RateQuota. It is 0 if waiting is no help.
	RetryAfter time.Duration
}

// Error says what the user may do about it.
func (r *Refusal) Error() string {
	switch r.Code {
	case FileTooLarge:
		return fmt.Sprintf("file is too large: %d bytes, at most %d are allowed", r.Used, r.Limit)
	case TotalQuota:
		return fmt.Sprintf("storage quota is used up: %d of %d bytes are taken", r.Used, r.Limit)
	default:
		unit := "bytes"
		if r.Uploads {
			unit = "uploads"
		}
		return fmt.Sprintf("rate quota is used up: %d of %d %s in %s are taken", r.Used, r.Limit, unit, r.Per)
	}
}

// Claim is what one slot takes from the account of its JID. Claims that are
// equal are alike in every respect, so nothing else needs to tell them apart.
type Claim struct {
	// At is when the slot was reserved.
	At time.Time
	// Deadline is when it lapses, unless an upload has begun.
	Deadline time.Time
	// Size in bytes.
	Size int64
}

// Usage is what a JID uses at one moment.
type Usage struct {
	StoredFiles, StoredBytes   int64
	WaitingSlots, WaitingBytes int64
	// Bytes and Uploads tell of each window, in the order of the Limits.
	Bytes, Uploads []WindowUsage
}

// WindowUsage is what is used of one window.
type WindowUsage struct {
	Window
	Used int64
	// RoomIn is how long to wait until some room is there; 0 is now.
	RoomIn time.Duration
}

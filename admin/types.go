package admin

import (
	"time"
)

// Upload is a slot, used or not.
type Upload struct {
	ID   string `json:"id"`
	JID  string `json:"jid"`
	Name string `json:"name"`
	// Size in bytes.
	Size        int64  `json:"size"`
	ContentType string `json:"content_type"`
	// State is waiting, uploaded or expired.
	State string `json:"state"`
	// InFlight is whether an upload to a waiting slot is being received.
	InFlight   bool      `json:"in_flight,omitempty"`
	ReservedAt time.Time `json:"reserved_at"`
	// UploadedAt is null while there is no file.
	UploadedAt *time.Time `json:"uploaded_at"`
	// ExpiresAt is when the file ceases to be served, or an unused slot can no
	// longer be used; null is never.
	ExpiresAt *time.Time `json:"expires_at"`
	// Store is the name of the store.
	Store string `json:"store"`
}

// List is a page of uploads, newest first.
type List struct {
	Uploads []Upload `json:"uploads"`
	// Next is the cursor of the next page; empty after the last one.
	Next string `json:"next,omitempty"`
}

// User is what a JID may store, and what it uses of that.
type User struct {
	JID string `json:"jid"`
	// Rule that decides; nil if none does.
	Rule *Rule `json:"rule"`
	// MaxFileSize and MaxTotalSize in bytes; 0 is no limit.
	MaxFileSize  int64 `json:"max_file_size"`
	MaxTotalSize int64 `json:"max_total_size"`
	StoredFiles  int64 `json:"stored_files"`
	StoredBytes  int64 `json:"stored_bytes"`
	WaitingSlots int64 `json:"waiting_slots"`
	WaitingBytes int64 `json:"waiting_bytes"`
	// Bytes and Uploads are the windows, in the order of the configuration.
	Bytes   []Window `json:"bytes"`
	Uploads []Window `json:"uploads"`
	// Stores holds the same for each store, where there are several.
	Stores []StoreUser `json:"stores,omitempty"`
}

// StoreUser is a User in one of several stores.
type StoreUser struct {
	Store string `json:"store"`
	User
}

// Window is what is used of a limit per span of time.
type Window struct {
	Limit int64 `json:"limit"`
	// Per is the span, as a duration such as 1h.
	Per  string `json:"per"`
	Used int64  `json:"used"`
	// RoomIn is in how many seconds there is some room; 0 is now.
	RoomIn int64 `json:"room_in"`
}

// UserSum is what a JID has stored.
type UserSum struct {
	JID         string `json:"jid"`
	StoredFiles int64  `json:"stored_files"`
	StoredBytes int64  `json:"stored_bytes"`
}

// Users is a page of JIDs, those with the most bytes first.
type Users struct {
	Users []UserSum `json:"users"`
	// Next is the cursor of the next page; empty after the last one.
	Next string `json:"next,omitempty"`
}

// Removal is what was removed.
type Removal struct {
	// Slots that were not used.
	Slots int64 `json:"slots"`
	// Files with their slots, and their Bytes.
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

// CleanUp is what a clean-up removed and mended.
type CleanUp struct {
	Removal
	// Discarded are unfinished uploads that nobody goes on with, removed.
	Discarded int64 `json:"discarded"`
	// Orphaned are files without a slot, removed.
	Orphaned int64 `json:"orphaned"`
	// Missing are slots whose file is gone, removed.
	Missing int64 `json:"missing"`
	// Published are uploads that a crash had kept from being published.
	Published int64 `json:"published"`
}

// Verification is the difference between slots and files.
type Verification struct {
	Slots int64 `json:"slots"`
	Files int64 `json:"files"`
	// Missing are IDs of uploads whose file is gone.
	Missing []string `json:"missing"`
	// Orphaned are paths of files that belong to no upload.
	Orphaned []string `json:"orphaned"`
	// WrongSize are IDs of uploads whose file has another size.
	WrongSize []string `json:"wrong_size"`
	// Repaired is how much of this was mended.
	Repaired int64 `json:"repaired"`
}

// Stats are sums over all JIDs.
type Stats struct {
	StoredFiles  int64 `json:"stored_files"`
	StoredBytes  int64 `json:"stored_bytes"`
	WaitingSlots int64 `json:"waiting_slots"`
	WaitingBytes int64 `json:"waiting_bytes"`
	// ExpiredFiles are those of StoredFiles that are not served any more, until
	// clean-up removes them.
	ExpiredFiles int64     `json:"expired_files"`
	FreeBytes    FreeBytes `json:"free_bytes"`
	// Days are the last 30, today included, the oldest first.
	Days []Day `json:"days"`
}

// FreeBytes is the free space of the file systems under the stores, of several
// stores the least; null where there is no such bound.
type FreeBytes struct {
	Slots *int64 `json:"slots"`
	Files *int64 `json:"files"`
}

// Day counts what was uploaded on one day, whatever became of it.
type Day struct {
	// Day is a date in UTC, such as 2026-01-02.
	Day     string `json:"day"`
	Uploads int64  `json:"uploads"`
	Bytes   int64  `json:"bytes"`
}

// Check is what a request for a slot would be answered.
//
//nolint:errname // It is no error, but has the fields of one.
type Check struct {
	Granted bool `json:"granted"`
	// Rule that decides; nil if none does.
	Rule *Rule `json:"rule"`
	// Refusal is nil if the slot would be granted.
	*Refusal
}

// Refusal is why a slot would be refused, with the code and the figures that
// the slot API would answer.
type Refusal struct {
	Code    string `json:"error"`
	Message string `json:"message"`
	Limit   *int64 `json:"limit,omitempty"`
	Used    *int64 `json:"used,omitempty"`
	// RetryAfter is in how many seconds the same request would be granted; 0
	// where waiting is no help.
	RetryAfter int64 `json:"retry_after,omitempty"`
}

func (r *Refusal) Error() string { return r.Message }

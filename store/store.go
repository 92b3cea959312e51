// Package store holds the contracts between the upload handlers and what
// keeps their state: Slots remembers who may upload what and accounts for it,
// Files keeps the bytes. Neither knows HTTP. Both are shaped so that a database
// or an object store, shared by several servers, can stand behind them.
//
// The life of an upload:
//
//	Slots.Reserve   the XMPP server asked for a slot, quotas allow it
//	Slots.Begin     a PUT arrived in time
//	Files.Create    room is reserved, bytes are written
//	Upload.Commit   all bytes are on the disk, nobody can see them yet
//	Slots.Commit    the slot is used; of two racing uploads one wins here
//	Upload.Publish  the bytes are where downloads find them
//
// An upload that ends anywhere before Slots.Commit leaves a waiting slot and,
// at worst, unpublished bytes that clean-up discards. One that ends after it is
// complete: Files.Open finds committed bytes whether they are published or not.
package store

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
)

// Errors that stores return, bare or wrapped. A refusal by a quota is a
// *quota.Refusal instead.
var (
	// ErrNotFound: there is no such slot, or no such file.
	ErrNotFound = errors.New("not found")
	// ErrExpired: the slot's time ended before the upload began.
	ErrExpired = errors.New("slot has expired")
	// ErrUsed: an upload to this slot was committed already.
	ErrUsed = errors.New("slot has been used")
	// ErrNoSpace: the disk, its quota or a cap of the operator leaves no room.
	ErrNoSpace = errors.New("no space left")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrCursor: what was given as a cursor is none.
	ErrCursor = errors.New("not a cursor")
)

// State is how far a slot has come.
type State uint8

// The states of a slot.
const (
	// Waiting for its upload, which may be in flight.
	Waiting State = iota + 1
	// Uploaded and committed.
	Uploaded
	// Expired is never recorded: Slot.StateAt tells it of either, once its time
	// has ended.
	Expired
)

// Slot is the right to upload one file, and after the upload the record of it.
type Slot struct {
	// ID names the slot in URLs; see NewID.
	ID string
	// JID is the bare JID of the user who asked, prepared by RFC 7622.
	JID string
	// Name is the file's name as the user chose it, without control characters
	// and path separators.
	Name string
	// URLName is the last segment of the slot's URLs: letters, digits, dot,
	// underscore and hyphen only.
	URLName string
	// Size in bytes, of the announced and of the stored file alike.
	Size int64
	// ContentType as announced, empty if none; once uploaded, the type to serve.
	ContentType string
	State       State
	// Reserved is when the slot was granted.
	Reserved time.Time
	// Deadline is when the right to begin an upload ends.
	Deadline time.Time
	// Uploaded is when the upload was committed; zero while waiting.
	Uploaded time.Time
	// Expires is when the file ceases to be served; zero while waiting, and
	// for a file that is kept forever.
	Expires time.Time
	// Attempt names the upload that won the slot; see FileRef.
	Attempt string
	// InFlight tells of a waiting slot whether an upload to it is being
	// received. Get and List know it; it is not recorded.
	InFlight bool
}

// Claim returns what the slot means to its JID's quota account.
func (s Slot) Claim() quota.Claim {
	return quota.Claim{At: s.Reserved, Deadline: s.Deadline, Size: s.Size}
}

// File returns the reference of the slot's bytes.
func (s Slot) File() FileRef {
	return FileRef{ID: s.ID, Name: s.URLName, Attempt: s.Attempt}
}

// ExpiredAt reports whether the slot's time has ended at now: the time to begin
// an upload, or, once uploaded, the time to be served.
func (s Slot) ExpiredAt(now time.Time) bool {
	if s.State == Uploaded {
		return !s.Expires.IsZero() && !now.Before(s.Expires)
	}
	return !now.Before(s.Deadline)
}

// StateAt returns the state at now: Expired if the slot's time has ended. A
// slot whose upload is in flight waits, whatever the time.
func (s Slot) StateAt(now time.Time) State {
	if s.ExpiredAt(now) && !s.InFlight {
		return Expired
	}
	return s.State
}

// Limits is what a reservation must respect.
type Limits struct {
	// Quota of the slot's JID.
	Quota quota.Limits
	// MaxStorage caps stored and reserved bytes over all JIDs; 0 is no cap.
	MaxStorage int64
	// Room caps the bytes of all waiting slots together, this one included:
	// what the disk can still take. Negative is no cap.
	Room int64
}

// Result is what a committed upload adds to its slot.
type Result struct {
	ContentType string
	Attempt     string
	// At is when the upload was committed.
	At time.Time
	// Expires is when the file ceases to be served; zero is never.
	Expires time.Time
}

// Totals are sums over all JIDs.
type Totals struct {
	StoredFiles, StoredBytes   int64
	WaitingSlots, WaitingBytes int64
}

// Query chooses slots to list.
type Query struct {
	// JID, if not empty, lists the slots of this bare JID only.
	JID string
	// State, if not zero, lists slots that have this state at Now only. Where
	// Now is zero nothing has expired.
	State State
	Now   time.Time
	// Text, if not empty, must occur in the JID or the name, whatever its case.
	Text string
	// From (inclusive) and To (exclusive), where not zero, bound Slot.Reserved.
	From, To time.Time
	// After is the cursor of the page before, the ID of its last slot; empty
	// begins with the newest. A listing can go on after any ID, also one of
	// another store.
	After string
	// Limit is the most slots in a page; 0 means 100.
	Limit int
}

// Page is a part of a listing, newest reservation first.
type Page struct {
	Slots []Slot
	// Next is the cursor of the page that follows, the ID of the last slot of
	// this one; empty after the last page.
	Next string
}

// User is what a JID has stored.
type User struct {
	JID                      string
	StoredFiles, StoredBytes int64
}

// Day counts the uploads that were committed on one day, whatever became of
// them.
type Day struct {
	// Start is midnight, UTC.
	Start          time.Time
	Uploads, Bytes int64
}

// DaysKept is how many days a store counts at least, today included.
const DaysKept = 30

// Slots remembers slots and accounts for them. All methods are safe for
// concurrent use. Times come from the caller, so that one clock rules.
type Slots interface {
	// Reserve records a new waiting slot if the limits allow it. Checking and
	// recording are one step: whatever races, no limit is overrun. It returns
	// a *quota.Refusal or ErrNoSpace. The ID must be a new one, made by NewID:
	// its random bits are why nobody has to look whether it is in use. A granted
	// slot survives the death of the process; a power cut may take it.
	Reserve(ctx context.Context, slot Slot, limits Limits) error

	// Check returns what Reserve would, were the JID's slot of size bytes
	// reserved at now, and records nothing.
	Check(ctx context.Context, jid string, size int64, limits Limits, now time.Time) error

	// Begin marks an upload to a waiting slot as in flight, so that the slot
	// holds its quota past its deadline. It returns ErrNotFound, ErrUsed or, if
	// the deadline is not after now, ErrExpired. Several uploads to one slot
	// may be in flight. Each Begin must be ended by Commit or GiveUp; the
	// death of the process ends all its uploads.
	Begin(ctx context.Context, id string, now time.Time) (Slot, error)

	// GiveUp ends an upload that Begin allowed and that did not succeed. The
	// slot stays usable until its deadline. After a Commit that won or lost, or
	// a Delete, it does nothing, so that it may be deferred.
	GiveUp(ctx context.Context, id string, now time.Time) error

	// Commit ends an upload that Begin allowed, and makes the slot Uploaded.
	// Of several one wins, the others get ErrUsed; a slot deleted meanwhile
	// gives ErrNotFound. Once Commit has returned nil, the record survives a
	// power cut. An upload in flight may commit after the deadline.
	Commit(ctx context.Context, id string, result Result) (Slot, error)

	// Get returns the slot, expired or not, or ErrNotFound.
	Get(ctx context.Context, id string) (Slot, error)

	// Delete removes the slot and returns it, or ErrNotFound. A waiting slot
	// gives back all that it took of its quota. The bytes of an uploaded one
	// return too, but windows remember it. The caller removes the file, first.
	Delete(ctx context.Context, id string, now time.Time) (Slot, error)

	// List returns a page of slots. A cursor stays right while slots come and
	// go: no slot that stays is left out or seen twice. It returns ErrCursor for
	// what is none. Without a text to search for, a page costs about as much
	// whatever the number of slots in the store.
	List(ctx context.Context, q Query) (Page, error)

	// Usage returns the account of one bare JID, with what is used of limits.
	Usage(ctx context.Context, jid string, limits quota.Limits, now time.Time) (quota.Usage, error)

	// Users returns the JIDs that have files stored, most bytes first and then
	// by JID, and the cursor of the next page; an empty cursor begins, and is
	// returned at the end. It costs about as much whatever the number of JIDs.
	// A JID whose bytes change between two pages may be missed or seen twice.
	// It returns ErrCursor for what is no cursor.
	Users(ctx context.Context, after string, limit int) ([]User, string, error)

	// Days returns, oldest first, the days on which something was uploaded, from
	// that of from on; see DaysKept.
	Days(ctx context.Context, from time.Time) ([]Day, error)

	// Totals returns the sums over all JIDs.
	Totals(ctx context.Context, now time.Time) (Totals, error)

	// Expired returns slots whose time has ended at now, longest ago first,
	// without those that have an upload in flight, and a cursor for the next
	// call; an empty cursor begins, and is returned at the end.
	Expired(ctx context.Context, now time.Time, after string, limit int) ([]Slot, string, error)

	// Remember makes windows remember at least the span d of removed uploads.
	// It is called with the longest span of each configuration in use, before
	// the first reservation under it.
	Remember(ctx context.Context, d time.Duration) error

	// Forget drops what windows remember of removed uploads and no window can
	// reach any more at now.
	Forget(ctx context.Context, now time.Time) error

	// Backup writes a copy of all that the store knows, as of one moment, while
	// it goes on. What takes the copy back is the store's own. It returns
	// errors.ErrUnsupported if the store is backed up by other means.
	Backup(ctx context.Context, w io.Writer) error

	// Free returns the free bytes of the file system under the store; negative
	// if it has no such bound.
	Free(ctx context.Context) (int64, error)
}

// FileRef names the bytes of one upload.
type FileRef struct {
	// ID and Name are the slot's ID and URLName.
	ID, Name string
	// Attempt tells several uploads to one slot apart until one has won; it is
	// made by NewAttempt.
	Attempt string
}

// FileInfo is what a listing tells of a file.
type FileInfo struct {
	FileRef
	Size int64
	// Path is what the store calls the file, for people.
	Path string
	// Published is false for bytes that no one published yet; Name is then
	// empty. Attempt is empty for published ones.
	Published bool
}

// Files keeps the bytes. All methods are safe for concurrent use. No string of
// a FileRef may become a path without having the form of NewID, NewAttempt and
// of a URL name.
type Files interface {
	// Create begins an upload of exactly size bytes and reserves room for it.
	// It returns ErrNoSpace if there is none. The caller must end the upload
	// by Publish or Abort.
	Create(ctx context.Context, ref FileRef, size int64) (Upload, error)

	// Publish does what Upload.Publish does, for committed bytes whose process
	// died in between. It returns ErrNotFound if neither committed nor
	// published bytes exist.
	Publish(ctx context.Context, ref FileRef) error

	// Discard removes unpublished bytes of ref.Attempt, if there are any.
	Discard(ctx context.Context, ref FileRef) error

	// Open opens committed bytes for reading, or returns ErrNotFound. It must
	// be called only for the attempt that the slot names.
	Open(ctx context.Context, ref FileRef) (File, error)

	// Delete removes all bytes of ref, published or not; to remove what is not
	// there is no error. Downloads that have it open go on to their end.
	Delete(ctx context.Context, ref FileRef) error

	// List returns the files that the store holds, in an order of its own,
	// without those that an upload is writing or has not published yet; and a
	// cursor for the next call; an empty cursor begins, and is returned at the
	// end. It serves recovery only and need not be fast.
	List(ctx context.Context, after string, limit int) ([]FileInfo, string, error)

	// Path is where a web server over the same files finds a published one:
	// slash-separated, relative, unescaped, of URL-safe characters.
	Path(ref FileRef) string

	// Free returns the bytes that new files may take; room that Create
	// reserved for uploads in progress counts as free until they commit.
	// Negative if the store has no such bound.
	Free(ctx context.Context) (int64, error)
}

// Upload is a file that is being written. It is used by one goroutine.
type Upload interface {
	// Write appends. Writing more than the announced size is an error.
	io.Writer

	// Commit returns once the bytes survive a power cut. It is an error if
	// fewer were written than announced. The bytes are not public yet.
	Commit(ctx context.Context) error

	// Publish makes committed bytes public at Files.Path. It is called once
	// the slot is committed. If it fails, Files.Open finds the bytes all the
	// same, and recovery publishes them later.
	Publish(ctx context.Context) error

	// Abort removes what was written. After Publish it does nothing, so that
	// it may be deferred.
	Abort() error
}

// File is an open file for reading.
type File interface {
	io.ReadSeekCloser
	// Size in bytes.
	Size() int64
}

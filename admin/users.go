package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Users returns a page of JIDs by what they have stored, or store.ErrCursor. A
// limit of 0 is 100. Of one store, a page costs about as much however many JIDs
// there are; over several, all of them are read and summed for each page.
func (s *Stores) Users(ctx context.Context, after string, limit int) (Users, error) {
	if limit <= 0 {
		limit = defaultPage
	}
	if len(s.all) > 1 {
		return s.mergedUsers(ctx, after, limit)
	}
	list, next, err := s.all[0].slots().Users(ctx, after, limit)
	if err != nil {
		return Users{}, err
	}
	page := Users{Users: make([]UserSum, len(list)), Next: next}
	for i, u := range list {
		page.Users[i] = UserSum(u)
	}
	return page, nil
}

// mergedUsers begins behind the sum that the cursor holds, in the order of
// mostFirst.
func (s *Stores) mergedUsers(ctx context.Context, after string, limit int) (Users, error) {
	last, err := parseUserCursor(after)
	if err != nil {
		return Users{}, err
	}
	sums, err := s.allUsers(ctx)
	if err != nil {
		return Users{}, err
	}
	list := make([]UserSum, 0, len(sums))
	for _, u := range sums {
		if after == "" || mostFirst(last, u) < 0 {
			list = append(list, u)
		}
	}
	slices.SortFunc(list, mostFirst)
	if len(list) <= limit {
		return Users{Users: list}, nil
	}
	list = slices.Clip(list[:limit])
	return Users{Users: list, Next: userCursor(list[limit-1])}, nil
}

func (s *Stores) allUsers(ctx context.Context) (map[string]UserSum, error) {
	sums := make(map[string]UserSum)
	for _, p := range s.all {
		for after := ""; ; {
			list, next, err := p.slots().Users(ctx, after, 1000)
			if err != nil {
				return nil, err
			}
			for _, u := range list {
				sum := sums[u.JID]
				sums[u.JID] = UserSum{JID: u.JID, StoredFiles: sum.StoredFiles + u.StoredFiles, StoredBytes: sum.StoredBytes + u.StoredBytes}
			}
			if after = next; next == "" {
				break
			}
		}
	}
	return sums, nil
}

func mostFirst(a, b UserSum) int {
	return cmp.Or(cmp.Compare(b.StoredBytes, a.StoredBytes), cmp.Compare(a.JID, b.JID))
}

// userCursorMark tells a cursor over several stores from one of a store.
const userCursorMark = "merged\x00"

func userCursor(last UserSum) string {
	b := binary.BigEndian.AppendUint64([]byte(userCursorMark), uint64(last.StoredBytes))
	return base64.RawURLEncoding.EncodeToString(append(b, last.JID...))
}

func parseUserCursor(s string) (UserSum, error) {
	if s == "" {
		return UserSum{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if rest, ok := bytes.CutPrefix(b, []byte(userCursorMark)); err == nil && ok && len(rest) > 8 {
		return UserSum{JID: string(rest[8:]), StoredBytes: int64(binary.BigEndian.Uint64(rest))}, nil
	}
	return UserSum{}, fmt.Errorf("%w: %q", store.ErrCursor, s)
}

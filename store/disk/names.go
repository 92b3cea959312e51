package disk

import (
	"errors"
	"strings"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// partSuffix ends the name of unpublished bytes.
const partSuffix = ".part"

// shardChars is how many characters of an ID name its shard: 1024 directories
// hold a million files without one growing large.
const shardChars = 2

var (
	errID      = errors.New("not the ID of a slot")
	errName    = errors.New("not the name of a URL")
	errAttempt = errors.New("not the name of an attempt")
)

func shardName(id string) string { return id[:shardChars] }

func publishedName(ref store.FileRef) string { return ref.ID + "-" + ref.Name }

// partName begins with a dot, so that web servers hide it.
func partName(ref store.FileRef) string {
	return "." + ref.ID + "." + ref.Attempt + partSuffix
}

// checkPublished returns an error unless ref can name a published file.
func checkPublished(ref store.FileRef) error {
	if !store.IsID(ref.ID) {
		return errID
	}
	if !store.IsURLName(ref.Name) {
		return errName
	}
	return nil
}

// checkPart returns an error unless ref can name unpublished bytes.
func checkPart(ref store.FileRef) error {
	if !store.IsID(ref.ID) {
		return errID
	}
	if !store.IsAttempt(ref.Attempt) {
		return errAttempt
	}
	return nil
}

// checkUpload returns an error unless ref can name both.
func checkUpload(ref store.FileRef) error {
	return errors.Join(checkPublished(ref), checkPart(ref))
}

// checkEither returns an error unless what is there of ref's name and attempt
// has its form.
func checkEither(ref store.FileRef) error {
	if !store.IsID(ref.ID) {
		return errID
	}
	if ref.Name != "" && !store.IsURLName(ref.Name) {
		return errName
	}
	return checkAttempt(ref)
}

// checkAttempt returns an error unless ref's attempt, if it has one, has its form.
func checkAttempt(ref store.FileRef) error {
	if ref.Attempt != "" && !store.IsAttempt(ref.Attempt) {
		return errAttempt
	}
	return nil
}

// parseName undoes publishedName and partName. It is false for the name of
// something else.
func parseName(name string) (info store.FileInfo, ok bool) {
	if part, isPart := strings.CutSuffix(name, partSuffix); isPart && strings.HasPrefix(part, ".") {
		info.ID, info.Attempt, _ = strings.Cut(part[1:], ".")
		return info, checkPart(info.FileRef) == nil
	}
	info.Published = true
	info.ID, info.Name, _ = strings.Cut(name, "-")
	return info, checkPublished(info.FileRef) == nil
}

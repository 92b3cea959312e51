package cleanup

import (
	"context"
	"errors"
)

// Verification is what a comparison of slots and files has found.
type Verification struct {
	// Slots and Files that were looked at.
	Slots, Files int64
	// Missing are the IDs of uploaded slots whose file is gone.
	Missing []string
	// Orphaned are the paths of files without a slot.
	Orphaned []string
	// WrongSize are the IDs of uploaded slots whose file has another size.
	WrongSize []string
	// Repaired is how many of these were mended, and how many uploads were
	// published that a crash had kept from it.
	Repaired int64
}

// Verify compares slots and files, and mends what it finds if repair is set.
func (s *Service) Verify(ctx context.Context, repair bool, progress Progress) (Verification, error) {
	return Verification{}, errors.ErrUnsupported
}

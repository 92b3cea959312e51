//go:build !linux

package badger

// dropPages does nothing: the kernel takes the pages back when it needs them.
func (*guard) dropPages(map[string]bool) error { return nil }

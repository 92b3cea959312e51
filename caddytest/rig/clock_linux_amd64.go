package rig

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Go asks the kernel for the time by calling a function that the kernel maps into
// each process (vdso), and has its address in a variable of package runtime. A
// Caddy under a clock of its own has the address of another function there. So
// nothing is patched that may be running: whoever asks for the time reads the
// one address or the other. C code, if there is any, keeps the machine's clock.

// init sets the clock of a Caddy, before it does anything.
func init() {
	if os.Getenv(envCaddy) == "" {
		return
	}
	file, err := os.OpenFile(clockFile, os.O_RDWR, 0) // the rig starts it in its directory
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = followClock(file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "setting the clock:", err)
		os.Exit(1)
	}
}

// followClock makes the wall clock of this process run ahead of the machine's by
// what the file holds, whenever it changes.
func followClock(file *os.File) error {
	defer file.Close()
	offset, err := mapClock(file)
	if err != nil {
		return err
	}
	variable, err := findClock()
	if err != nil {
		return err
	}
	function, err := newClock(offset)
	if err != nil {
		return err
	}
	atomic.StoreUintptr(*(**uintptr)(unsafe.Pointer(&variable)), function)
	return nil
}

// mapClock returns where the number of seconds lies that a file holds.
func mapClock(file *os.File) (*int64, error) {
	page, err := unix.Mmap(int(file.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping a clock: %w", err)
	}
	return (*int64)(unsafe.Pointer(unsafe.SliceData(page))), nil
}

// newClock returns the address of a function that does what clock_gettime does,
// and adds the seconds at offset to the wall clock.
func newClock(offset *int64) (uintptr, error) {
	code := []byte{
		0xb8, unix.SYS_CLOCK_GETTIME, 0, 0, 0, // mov eax, SYS_CLOCK_GETTIME
		0x0f, 0x05, //                            syscall
		0x85, 0xc0, //                            test eax, eax: did it succeed?
		0x75, 20, //                              jnz end
		0x85, 0xff, //                            test edi, edi: is it CLOCK_REALTIME?
		0x75, 16, //                              jnz end
		0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, //    mov rcx, offset
		0x48, 0x8b, 0x09, //                      mov rcx, [rcx]
		0x48, 0x01, 0x0e, //                      add [rsi], rcx
		0xc3, //                             end: ret
	}
	binary.LittleEndian.PutUint64(code[17:], uint64(uintptr(unsafe.Pointer(offset))))
	page, err := unix.Mmap(-1, 0, len(code), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return 0, fmt.Errorf("making room for code: %w", err)
	}
	copy(page, code)
	if err := unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC); err != nil {
		return 0, fmt.Errorf("making code executable: %w", err)
	}
	return uintptr(unsafe.Pointer(unsafe.SliceData(page))), nil
}

// findClock returns the address of the variable that holds the address of the
// kernel's function: the one word among those of the program that has this value.
func findClock() (uintptr, error) {
	mappings, err := readMappings()
	if err != nil {
		return 0, err
	}
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		return 0, err
	}
	defer memory.Close()
	function, err := kernelClock(memory, mappings)
	if err != nil {
		return 0, err
	}
	var found []uintptr
	for _, m := range variables(mappings) {
		words := make([]byte, m.end-m.start)
		if _, err := memory.ReadAt(words, m.start); err != nil {
			return 0, fmt.Errorf("reading variables: %w", err)
		}
		for i := 0; i+8 <= len(words); i += 8 {
			if binary.LittleEndian.Uint64(words[i:]) == function {
				found = append(found, uintptr(m.start)+uintptr(i))
			}
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%d variables hold the address of the kernel's clock, instead of one", len(found))
	}
	return found[0], nil
}

// kernelClock returns the address of the kernel's function.
func kernelClock(memory *os.File, mappings []mapping) (uint64, error) {
	for _, m := range mappings {
		if m.name != "[vdso]" {
			continue
		}
		image := make([]byte, m.end-m.start)
		if _, err := memory.ReadAt(image, m.start); err != nil {
			return 0, fmt.Errorf("reading the vdso: %w", err)
		}
		vdso, err := elf.NewFile(bytes.NewReader(image))
		if err != nil {
			return 0, fmt.Errorf("reading the vdso: %w", err)
		}
		symbols, err := vdso.DynamicSymbols()
		if err != nil {
			return 0, fmt.Errorf("reading the symbols of the vdso: %w", err)
		}
		for _, s := range symbols {
			if s.Name == "__vdso_clock_gettime" {
				return uint64(m.start) + s.Value, nil
			}
		}
	}
	return 0, errors.New("the kernel lends no clock")
}

// mapping is a part of the memory of this process.
type mapping struct {
	start, end int64
	access     string // such as rw-p
	name       string // of the file, or what the kernel calls it
}

func readMappings() ([]mapping, error) {
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	var mappings []mapping
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // from-to, access, offset, device, inode, maybe a name
		if len(f) < 5 {
			return nil, fmt.Errorf("not a mapping: %q", line)
		}
		from, to, _ := strings.Cut(f[0], "-")
		start, err := strconv.ParseInt(from, 16, 64)
		if errors.Is(err, strconv.ErrRange) {
			continue // the kernel's half of all addresses
		}
		end, errEnd := strconv.ParseInt(to, 16, 64)
		if err := errors.Join(err, errEnd); err != nil {
			return nil, fmt.Errorf("reading a mapping: %w", err)
		}
		mappings = append(mappings, mapping{start, end, f[1], strings.Join(f[5:], " ")})
	}
	return mappings, nil
}

// variables returns the writable mappings of the program: from its file, and
// what follows them without a gap, which is zero at first.
func variables(mappings []mapping) (found []mapping) {
	program, _ := os.Readlink("/proc/self/exe")
	var end int64 // of the mapping before, if it is the program's
	for _, m := range mappings {
		if m.name != program && (m.name != "" || m.start != end) {
			continue
		}
		end = m.end
		if strings.HasPrefix(m.access, "rw") {
			found = append(found, m)
		}
	}
	return found
}

// writeClock writes the seconds into a clock's file at one stroke.
func writeClock(name string, seconds int64) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	offset, err := mapClock(file)
	if err != nil {
		return err
	}
	atomic.StoreInt64(offset, seconds)
	return unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(offset)), 8))
}

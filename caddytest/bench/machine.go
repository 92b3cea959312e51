package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// machine describes what was measured on: cores, memory, kernel, the file system
// of dir, and Go.
func machine(dir string) string {
	return fmt.Sprintf("Measured on %d cores (%s) with %s of memory, %s %s, %s, %s.",
		runtime.NumCPU(), after("/proc/cpuinfo", "model name"), memorySize(),
		output("uname", "-s"), output("uname", "-r"), fileSystem(dir), runtime.Version())
}

// after returns what stands behind a word and a colon in a file, unknown if that
// is nowhere.
func after(file, word string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == word {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memorySize() string {
	var kib int
	if _, err := fmt.Sscanf(after("/proc/meminfo", "MemTotal"), "%d kB", &kib); err != nil {
		return "an unknown size"
	}
	return fmt.Sprintf("%d GiB", (kib+1<<19)>>20)
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// fileSystem returns the type of the file system that holds dir: that of the
// longest mount point above it.
func fileSystem(dir string) string {
	mounts, _ := os.ReadFile("/proc/mounts")
	kind, longest := "an unknown file system", ""
	for line := range strings.SplitSeq(string(mounts), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 3 || len(fields[1]) < len(longest) {
			continue
		}
		if rel, err := filepath.Rel(fields[1], dir); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			kind, longest = fields[2], fields[1]
		}
	}
	return kind
}

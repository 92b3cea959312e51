//go:build linux

package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// machine is a disk of its own: an image in a file system of its own, whose
// writes can be held while the image is copied. What the copy holds is what had
// left the memory of the mounted file system, so it is what a power cut leaves.
type machine struct {
	t     *testing.T
	kind  string // of the file system in the image
	outer string // where the file system with the image is mounted
	disk  string // where the image is mounted
}

// newMachine makes a disk with a file system of this kind.
func newMachine(t *testing.T, kind string) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		rig.Skip(t, "only root can mount an image")
	}
	for _, tool := range []string{"mkfs.ext4", "mkfs." + kind, "mount", "umount", "cp"} {
		if _, err := exec.LookPath(tool); err != nil {
			rig.Skip(t, tool+" is not installed")
		}
	}
	dir := t.TempDir()
	m := &machine{t: t, kind: kind}
	m.outer = mount(t, format(t, "ext4", filepath.Join(dir, "outer.img"), 1<<30))
	m.disk = mount(t, format(t, kind, m.image(), 512<<20))
	return m
}

func (m *machine) image() string { return filepath.Join(m.outer, "disk.img") }

// cut returns where the disk is mounted as it would be after a power cut now.
// The machine itself goes on.
func (m *machine) cut() (disk string) {
	m.t.Helper()
	outer, err := os.Open(m.outer)
	if err != nil {
		m.t.Fatal(err)
	}
	defer outer.Close()
	image := filepath.Join(m.t.TempDir(), "cut.img")
	if err := unix.IoctlSetInt(int(outer.Fd()), fiFreeze, 0); err != nil {
		m.t.Fatalf("holding the writes to the disk: %v", err)
	}
	copied, copyErr := exec.Command("cp", "--sparse=always", m.image(), image).CombinedOutput()
	if err := unix.IoctlSetInt(int(outer.Fd()), fiThaw, 0); err != nil {
		m.t.Fatalf("letting the writes to the disk go on: %v", err)
	}
	if copyErr != nil {
		m.t.Fatalf("copying the disk: %v\n%s", copyErr, copied)
	}
	var options []string
	if m.kind == "xfs" {
		options = []string{"nouuid"} // the other one of this UUID is mounted
	}
	return mount(m.t, image, options...)
}

// Hold all writes to a file system, and let them go on; see ioctl_fs(2).
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// format makes an image with a file system.
func format(t *testing.T, kind, image string, size int64) string {
	t.Helper()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command("mkfs."+kind, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("making a file system: %v\n%s", err, output)
	}
	return image
}

// mount mounts an image for the time of the test, and returns where.
func mount(t *testing.T, image string, options ...string) string {
	t.Helper()
	dir := t.TempDir()
	o := "loop"
	for _, option := range options {
		o += "," + option
	}
	if output, err := exec.Command("mount", "-o", o, image, dir).CombinedOutput(); err != nil {
		rig.Skip(t, "no image can be mounted: "+string(output))
	}
	t.Cleanup(func() {
		if output, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("unmounting an image: %v\n%s", err, output)
		}
	})
	return dir
}

package disk_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// childEnv makes the test binary do what it names in the directory that
// childDir names, instead of testing.
const (
	childEnv = "XMPP_UPLOAD_DISK_TEST_CHILD"
	childDir = "XMPP_UPLOAD_DISK_TEST_DIR"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	switch os.Getenv(childEnv) {
	case "":
		goleak.VerifyTestMain(m)
	case "open":
		f, err := disk.Open(dir, false)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		f.Close()
	case "upload":
		if err := uploadForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// child returns the command that runs the test binary in place of a server.
func child(t *testing.T, does, dir string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+does, childDir+"="+dir)
	return cmd
}

// uploadForever uploads in eight goroutines, and names each attempt on standard
// output: once its bytes are committed and, as the slot's record would, before
// they are published.
func uploadForever(dir string) error {
	f, err := disk.Open(dir, false)
	if err != nil {
		return err
	}
	var out sync.Mutex
	w := bufio.NewWriter(os.Stdout)
	committed := func(ref store.FileRef) error {
		out.Lock()
		defer out.Unlock()
		fmt.Fprintln(w, ref.ID, ref.Name, ref.Attempt)
		return w.Flush()
	}
	errs := make(chan error)
	for range 8 {
		go func() {
			for {
				if err := uploadOnce(f, committed); err != nil {
					errs <- err
				}
			}
		}()
	}
	return <-errs
}

func uploadOnce(f *disk.Files, committed func(store.FileRef) error) error {
	ctx := context.Background()
	ref := store.FileRef{ID: store.NewID(time.Now()), Name: "a.bin", Attempt: store.NewAttempt()}
	data := crashContents(ref)
	u, err := f.Create(ctx, ref, int64(len(data)))
	if err != nil {
		return err
	}
	defer u.Abort()
	for half := range 2 {
		if _, err := u.Write(data[half*len(data)/2 : (half+1)*len(data)/2]); err != nil {
			return err
		}
	}
	switch rand.IntN(8) {
	case 0:
		return nil // aborted while it is written
	case 1:
		return errors.Join(u.Commit(ctx), u.Abort())
	}
	if err := u.Commit(ctx); err != nil {
		return err
	}
	if err := committed(ref); err != nil {
		return err
	}
	return u.Publish(ctx)
}

// crashContents returns up to 256 KiB that only this attempt has.
func crashContents(ref store.FileRef) []byte {
	var seed [32]byte
	copy(seed[:], ref.Attempt)
	random := rand.NewChaCha8(seed)
	data := make([]byte, random.Uint64()%(256<<10))
	_, _ = random.Read(data)
	return data
}

package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// secret signs the URLs of the stand-in.
const secret = "not a secret"

// standin serves PUT as prosody-filer does: it checks the URL's HMAC, makes a
// directory for each upload, copies the body into a new file, and answers 201
// without waiting for the disk.
func standin(addr, dir string) error {
	server := &http.Server{
		Addr:              addr,
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path := strings.TrimPrefix(r.URL.Path, "/")
			want := sign(path, r.ContentLength)
			if r.Method != http.MethodPut || !hmac.Equal([]byte(r.URL.Query().Get("v")), []byte(want)) {
				http.Error(w, "forbidden", http.StatusForbidden)
				return
			}
			if err := save(filepath.Join(dir, filepath.FromSlash(path)), r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			w.WriteHeader(http.StatusCreated)
		}),
	}
	return server.ListenAndServe()
}

// sign returns the parameter v of an upload of size bytes to path.
func sign(path string, size int64) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s %d", path, size)
	return hex.EncodeToString(mac.Sum(nil))
}

func save(name string, body io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, body)
	return err
}

package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// secret signs the URLs of the stand-in.
const secret = "not a secret"

// standin serves PUT as prosody-filer does: it checks the URL by two HMACs, of
// which one must fit, makes a directory for each upload, copies the body into a
// new file, answers 201 without waiting for the disk, and logs seven lines about
// all that. A bare one makes the directory and the file, and does nothing else.
func standin(addr, dir string, bare bool) error {
	server := &http.Server{
		Addr:              addr,
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path := strings.TrimPrefix(r.URL.Path, "/")
			if r.Method != http.MethodPut || !bare && !mayUpload(w, r, path) {
				http.Error(w, "forbidden", http.StatusForbidden)
				return
			}
			n, err := save(filepath.Join(dir, filepath.FromSlash(path)), r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			if !bare {
				log.Println("stored", n, "bytes in", path)
			}
			w.WriteHeader(http.StatusCreated)
		}),
	}
	return server.ListenAndServe()
}

// mayUpload does what comes before the file.
func mayUpload(w http.ResponseWriter, r *http.Request, path string) bool {
	log.Println("request:", r.Method, r.URL.String())
	for _, header := range []string{"Origin", "Methods", "Headers", "Credentials"} {
		w.Header().Set("Access-Control-Allow-"+header, "*")
	}
	w.Header().Set("Access-Control-Max-Age", "7200")
	contentType := mime.TypeByExtension(filepath.Ext(path))
	log.Println("path:", path)
	log.Println("length:", r.ContentLength)
	log.Println("type:", contentType)
	log.Println("version:", "v")
	v := r.URL.Query().Get("v")
	first, second := sign(path, r.ContentLength), sign(path+contentType, r.ContentLength)
	log.Println("code:", v)
	return hmac.Equal([]byte(v), []byte(first)) || hmac.Equal([]byte(v), []byte(second))
}

// sign returns the parameter v of an upload of size bytes to path.
func sign(path string, size int64) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s %d", path, size)
	return hex.EncodeToString(mac.Sum(nil))
}

func save(name string, body io.Reader) (n int64, err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.Copy(f, body)
}

// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/openllb/hlb-operator/hlb/request"
)

// dockerEngine stands for a Docker engine: it takes an image and answers as told.
func dockerEngine(t *testing.T, status int, answer string) (got *string) {
	t.Helper()
	sock := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	got = new(string)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*got = r.Method + " " + r.URL.Path + " " + string(body)
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	})}
	go func() { _ = srv.Serve(l) }() // until it is closed
	t.Cleanup(func() { srv.Close() })
	t.Setenv("DOCKER_HOST", "unix://"+sock)
	return got
}

func TestDockerLoad(t *testing.T) {
	for name, tc := range map[string]struct {
		status  int
		answer  string
		wantErr string
	}{
		"an image that loads":           {200, `{"stream":"Loaded image"}`, ""},
		"a failure in the stream":       {200, `{"error":"no space"}`, "load image into Docker: no space"},
		"a refusal":                     {500, "", "load image into Docker: 500 Internal Server Error"},
		"an answer that does not parse": {200, "{", "load image into Docker: unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			got := dockerEngine(t, tc.status, tc.answer)
			entry, err := exportEntry(&request.Output{Type: "docker", Load: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			w, err := entry.Output(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, "tarball"); err != nil {
				t.Fatal(err)
			}
			err = w.Close()
			if (err == nil) != (tc.wantErr == "") || err != nil && err.Error() != tc.wantErr {
				t.Errorf("got %v, want %q", err, tc.wantErr)
			}
			if *got != "POST /images/load tarball" {
				t.Errorf("the engine got %q", *got)
			}
		})
	}
}

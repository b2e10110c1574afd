// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/diag"
)

func TestFramesAreBounded(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, Call{Op: OpRead, Path: "a"}, []byte("one"), nil, []byte("three")); err != nil {
		t.Fatal(err)
	}
	frame := b.Bytes()
	var got Call
	blobs, err := Read(bytes.NewReader(frame), int64(len(frame)), &got)
	if diff := cmp.Diff(Call{Op: OpRead, Path: "a"}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if diff := cmp.Diff([][]byte{[]byte("one"), {}, []byte("three")}, blobs); diff != "" {
		t.Error(diff)
	}
	var long *TooLongError
	if _, err := Read(bytes.NewReader(frame), 20, &got); !errors.As(err, &long) {
		t.Errorf("a frame over the limit: %v", err)
	}
	if _, err := Read(bytes.NewReader(frame[:len(frame)-1]), 1000, &got); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame that is cut: %v", err)
	}
	if _, err := Read(bytes.NewReader(nil), 1000, &got); !errors.Is(err, io.EOF) {
		t.Errorf("no frame: %v", err)
	}
}

func TestErrorsKeepWhatTheCompilerLooksAt(t *testing.T) {
	d := diag.Errorf("X", diag.Span{}, "plain http")
	for name, tc := range map[string]struct {
		err     error
		code    codes.Code
		missing bool
		found   bool
	}{
		"a lost connection": {status.Error(codes.Unavailable, "gone"), codes.Unavailable, false, false},
		"a missing file":    {&fs.PathError{Op: "stat", Path: "a", Err: fs.ErrNotExist}, codes.Unknown, true, false},
		"a diagnostic":      {fmt.Errorf("look up: %w", d), codes.Unknown, false, true},
		"a missing file of a daemon": {
			errors.Join(fs.ErrNotExist, status.Error(codes.Unknown, "no such file")), codes.Unknown, true, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := fmt.Errorf("wrapped: %w", NewError(tc.err).Err())
			var found *diag.Diagnostic
			if grpcerrors.Code(got) != tc.code || errors.Is(got, fs.ErrNotExist) != tc.missing ||
				errors.As(got, &found) != tc.found || got.Error() != "wrapped: "+tc.err.Error() {
				t.Errorf("got %v, code %v", got, grpcerrors.Code(got))
			}
		})
	}
	if NewError(nil).Err() != nil {
		t.Error("no error became one")
	}
}

// FuzzResult decodes whatever a child may send: it is refused, or a request that can be walked and encoded.
func FuzzResult(f *testing.F) {
	source := `fs default() { image "a"; run "b" with option { mount scratch "/o" as o; cacheMount "/c" }
		copy o "/" "/"; dockerPush "r/a"; cacheContext fs { image "c" } fs { run "d" } }`
	req, found := hlb.Compile(f.Context(), hlb.Program{Filename: "build.hlb", Source: []byte(source)},
		hlb.Options{Profile: hlb.ProfileServer})
	if found.HasErrors() {
		f.Fatal(found)
	}
	encoded, blobs, err := Encode(req)
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if err := Write(&b, FromChild{Result: &Result{Request: encoded}}, blobs...); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, frame []byte) {
		var m FromChild
		blobs, err := Read(bytes.NewReader(frame), 1<<20, &m)
		if err != nil || m.Result == nil || m.Result.Request == nil {
			return
		}
		req, err := Decode(m.Result.Request, blobs)
		if err != nil {
			return
		}
		req.Index()
		req.Needs()
		if _, _, err := Encode(req); err != nil {
			t.Error(err)
		}
	})
}

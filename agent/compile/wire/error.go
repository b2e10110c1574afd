// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"io/fs"

	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// maxErrorBytes bounds what an error says: registries and front ends write some of it.
const maxErrorBytes = 16 << 10

// Error is an error of a call, as far as the compiler looks at it.
type Error struct {
	Message string `json:"message"`
	// Code is that of the daemon's answer.
	Code codes.Code `json:"code,omitempty"`
	// Missing is set where a file does not exist.
	Missing bool `json:"missing,omitempty"`
	// Diagnostic is set where the error is one.
	Diagnostic *diag.Diagnostic `json:"diagnostic,omitempty"`
}

// NewError describes err, nil for nil.
func NewError(err error) *Error {
	if err == nil {
		return nil
	}
	e := &Error{
		Message: err.Error(), Code: grpcerrors.Code(err), Missing: errors.Is(err, fs.ErrNotExist),
	}
	e.Message = e.Message[:min(len(e.Message), maxErrorBytes)]
	var d *diag.Diagnostic
	if errors.As(err, &d) {
		e.Diagnostic = d
	}
	return e
}

// Err returns e as an error, nil for nil.
func (e *Error) Err() error {
	if e == nil {
		return nil
	}
	return e
}

func (e *Error) Error() string { return e.Message }

// Is makes errors.Is find fs.ErrNotExist in errors about missing files.
func (e *Error) Is(target error) bool { return e.Missing && target == fs.ErrNotExist }

// As makes errors.As find the diagnostic.
func (e *Error) As(target any) bool {
	d, ok := target.(**diag.Diagnostic)
	if !ok || e.Diagnostic == nil {
		return false
	}
	*d = e.Diagnostic
	return true
}

// GRPCStatus makes BuildKit's helpers find the code.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// SPDX-License-Identifier: Apache-2.0

package agent

import "errors"

// The exit codes of the agent's process, a contract with whoever reads a pod's last state.
const (
	// ExitOK: it was told to stop and has drained.
	ExitOK = 0
	// ExitFailed: something failed while it ran, such as the connection to the API server at its start.
	ExitFailed = 1
	// ExitUsage: its options are wrong. Restarting won't help.
	ExitUsage = 2
	// ExitVolume: the state directory can't be written.
	ExitVolume = 3
)

// UsageError is about options that are wrong.
type UsageError struct {
	Err error
}

func (e *UsageError) Error() string { return e.Err.Error() }

// VolumeError is about a state directory that can't be used.
type VolumeError struct {
	Err error
}

func (e *VolumeError) Error() string { return e.Err.Error() }

// Unwrap returns the file system's error.
func (e *VolumeError) Unwrap() error { return e.Err }

// ExitCode is the exit code for what Run returned.
func ExitCode(err error) int {
	var usage *UsageError
	var volume *VolumeError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &volume):
		return ExitVolume
	default:
		return ExitFailed
	}
}

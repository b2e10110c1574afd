// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"regexp"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/solve"
)

// remoteTrouble matches the errors of registries and git servers that pass by themselves: refusals for want of capacity
// (429), faults of the server (5xx) and connections that were refused or broken off. BuildKit has tried again for
// seconds by then. Its types of these errors don't cross its API, so there is nothing but their texts, which the tests
// hold against a real daemon.
//
// A name that does not exist is none of them: it is a typing error more often than an outage.
var remoteTrouble = regexp.MustCompile(`(?i)` +
	// containerd and go-containerregistry
	`unexpected status(?: code)?(?: from \w+ request to \S+:)?:? (?:408|429|500|502|503|504)\b` +
	`|\b(?:toomanyrequests|429 too many requests|500 internal server error|502 bad gateway` +
	`|503 service unavailable|504 gateway time-?out)\b` +
	// git
	`|requested url returned error: (?:429|500|502|503|504)\b|rpc failed; http (?:429|500|502|503|504)\b` +
	`|\bearly eof\b|the remote end hung up unexpectedly` +
	`|failed to connect to \S+ port|couldn't connect to server` +
	// connections
	`|connection (?:reset by peer|refused|timed out)|broken pipe|\bunexpected eof\b|: EOF$` +
	`|use of closed network connection|transport connection broken|server closed idle connection` +
	`|http2: server sent goaway|\bstream error: stream id` +
	`|i/o timeout|tls handshake timeout|client\.timeout exceeded|no route to host|network is unreachable` +
	`|temporary failure in name resolution|server misbehaving`)

// RemoteError says that a registry or git server which the compiler asked is at fault.
type RemoteError struct {
	Message string
}

func (e *RemoteError) Error() string { return e.Message }

// IsRemoteTrouble reports whether a registry or git server is at fault for an error of Build, so that another attempt
// may succeed. What a step's command prints is not BuildKit's word, so that steps which ended with an exit code never
// count.
func IsRemoteTrouble(err error) bool {
	var remote *RemoteError
	var step *solve.StepError
	switch {
	case errors.As(err, &remote):
		return true
	case err == nil, errors.As(err, &step) && step.ExitCode >= 0:
		return false
	}
	return remoteTrouble.MatchString(err.Error())
}

// lookupTrouble returns the first error of a program as *RemoteError if that is what it is, else nil.
func lookupTrouble(found diag.List) error {
	for _, d := range found {
		if d.Severity == diag.Error {
			if d.Code == lower.Lookup && remoteTrouble.MatchString(d.Message) {
				return &RemoteError{d.Message}
			}
			return nil
		}
	}
	return nil
}

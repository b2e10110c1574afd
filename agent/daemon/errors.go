// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"io"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
)

// isConnectionLost says whether err is the end of the connection to buildkitd rather than an answer of it. An answer
// about a step of the program carries the step, even where the step itself talked to something that was unavailable.
func isConnectionLost(err error) bool {
	var step *errdefs.VertexError
	if err == nil || errors.As(err, &step) {
		return false
	}
	return grpcerrors.Code(err) == codes.Unavailable || errors.Is(err, io.ErrUnexpectedEOF)
}

// IsLost says whether err means that the daemon is gone or going, so that the build may succeed elsewhere. It must
// not be asked about a build that the agent itself has cancelled.
func IsLost(err error) bool {
	var disconnected *DisconnectedError
	if errors.As(err, &disconnected) {
		return true
	}
	var step *errdefs.VertexError
	if err == nil || errors.As(err, &step) {
		return false
	}
	return isConnectionLost(err) || grpcerrors.Code(err) == codes.Canceled
}

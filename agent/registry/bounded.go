// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Bounds of what is read of a registry. Blobs are as large as their descriptors.
const (
	// maxAnswer bounds an answer that is no blob, in bytes: a page of tags, a manifest. A registry without pages can
	// list some 200,000 tags in it.
	maxAnswer = 16 << 20
	// maxTags bounds the tags of a repository, and maxPages the answers that list them.
	maxTags, maxPages = 1 << 18, 1 << 12
)

// ErrTooLarge means that the registry sent more than it may.
var ErrTooLarge = errors.New("the registry sends too much")

// boundedAnswers bounds all answers but blobs.
type boundedAnswers struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b boundedAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err == nil && !asksForBlob(req) {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxAnswer, what: "an answer"}
	}
	return resp, err
}

// asksForBlob reports whether a request is for a blob, or the redirection of one to where the registry stores it.
func asksForBlob(req *http.Request) bool {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return strings.Contains(req.URL.Path, "/blobs/")
}

// boundedBody fails with ErrTooLarge once more than left bytes were read.
type boundedBody struct {
	io.ReadCloser
	left int64
	what string
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one byte more shows that there is more
	}
	n, err := b.ReadCloser.Read(p)
	if int64(n) > b.left {
		b.Close() // not every reader does, and the other end would go on
		n, err = int(b.left), fmt.Errorf("%w: %s is larger than it may be", ErrTooLarge, b.what)
	}
	b.left -= int64(n)
	return n, err
}

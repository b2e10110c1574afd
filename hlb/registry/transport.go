// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"io"
	"net/http"
)

// answerLimit bounds what one answer of a registry may have, in bytes. It is the size up to which OCI's distribution
// specification wants registries to take manifests, and more than the compiler's own bound on a text.
const answerLimit = 4 << 20

// cautious is how registries are asked: a program may name any, so that neither long answers nor an unencrypted
// connection that nobody allowed may do harm.
type cautious struct {
	next http.RoundTripper
	// plain allows http.
	plain bool
}

// RoundTrip implements http.RoundTripper.
func (c *cautious) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !c.plain {
		return nil, &PlainError{r.URL.Host}
	}
	answer, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = &boundedBody{ReadCloser: answer.Body, host: r.URL.Host, left: answerLimit}
	return answer, nil
}

// PlainError says that a registry, or the place it refers to, speaks http where that is not allowed.
type PlainError struct {
	// Host with its port.
	Host string
}

func (e *PlainError) Error() string { return e.Host + " is not asked over http" }

// boundedBody fails when more than left bytes are read.
type boundedBody struct {
	io.ReadCloser
	host string
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%s answers with more than %d bytes", b.host, answerLimit)
	}
	return n, err
}

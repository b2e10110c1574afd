// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// throughProxy puts a proxy between pods and the API server, which handles requests as faulty does with the proxy that
// passes them on.
func throughProxy(t *testing.T, w *world, faulty func(http.Handler) http.Handler) func() error {
	t.Helper()
	target, err := url.Parse(w.Config.Host)
	must(t, err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(w.Config.CAData) {
		t.Fatal("the kubeconfig has no certificate of the API server's authority")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	silent := log.New(io.Discard, "", 0)
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: silent,
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
	}
	certificate, err := w.Local.APICertificate()
	must(t, err)
	l, err := net.Listen("tcp", net.JoinHostPort(target.Hostname(), "0"))
	must(t, err)
	server := &http.Server{
		Handler: faulty(proxy), ReadHeaderTimeout: 10 * time.Second, ErrorLog: silent,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	go server.ServeTLS(l, "", "") //nolint:errcheck // it ends with Close
	if err := w.Local.RedirectAPI(l.Addr().(*net.TCPAddr).Port); err != nil {
		t.Fatal(errors.Join(err, server.Close()))
	}
	return func() error {
		err := errors.Join(w.Local.RestoreAPI(), server.Close())
		transport.CloseIdleConnections()
		return err
	}
}

// The answers of an API server that can't write: what client-go makes of them is what counts.
const (
	conflict = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409,` +
		`"message":"the object has been modified; please apply your changes to the latest version and try again"}`
	tooMany = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","code":429,` +
		`"message":"too many requests"}`
	timedOut = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Timeout","code":504,` +
		`"message":"request did not complete within the allotted timeout"}`
)

// apiStorm has four of ten writes and one of ten reads fail: with a conflict, too many requests, a time-out, or written
// without an answer.
func apiStorm(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	return throughProxy(t, w, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			isRead := r.Method == http.MethodGet
			switch n := rand.IntN(10); {
			case r.URL.Query().Has("watch") || n >= 4 || isRead && n >= 1:
				next.ServeHTTP(rw, r)
			case n == 0:
				rw.Header().Set("Retry-After", "1")
				answer(rw, http.StatusTooManyRequests, tooMany)
			case n == 1:
				answer(rw, http.StatusConflict, conflict)
			case n == 2:
				answer(rw, http.StatusGatewayTimeout, timedOut)
			default:
				next.ServeHTTP(&unheard{http.Header{}}, r)
				panic(http.ErrAbortHandler)
			}
		})
	})
}

func answer(rw http.ResponseWriter, code int, text string) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(code)
	io.WriteString(rw, text) //nolint:errcheck // the client may be gone
}

// unheard is an answer that never reaches the client.
type unheard struct{ header http.Header }

func (u *unheard) Header() http.Header         { return u.header }
func (u *unheard) Write(p []byte) (int, error) { return len(p), nil }
func (u *unheard) WriteHeader(int)             {}

// slowWatch has every watch of a pod 30 s behind, while lists and reads are up to date.
func slowWatch(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	return throughProxy(t, w, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if !r.URL.Query().Has("watch") {
				next.ServeHTTP(rw, r)
				return
			}
			late := &lateWriter{ResponseWriter: rw, by: 30 * time.Second, queue: make(chan lateBytes, 100_000)}
			done := make(chan struct{})
			go func() { defer close(done); late.write(r.Context().Done()) }()
			next.ServeHTTP(late, r)
			close(late.queue)
			<-done
		})
	})
}

// lateWriter passes on what it is given after a time.
type lateWriter struct {
	http.ResponseWriter
	by    time.Duration
	queue chan lateBytes
	once  sync.Once
}

type lateBytes struct {
	due  time.Time
	text []byte
}

func (l *lateWriter) Write(p []byte) (int, error) {
	l.queue <- lateBytes{time.Now().Add(l.by), append([]byte(nil), p...)}
	return len(p), nil
}

// FlushError passes on the header, which comes at once.
func (l *lateWriter) FlushError() (err error) {
	l.once.Do(func() { err = http.NewResponseController(l.ResponseWriter).Flush() })
	return err
}

// write writes until the queue is closed; after stop it only empties it.
func (l *lateWriter) write(stop <-chan struct{}) {
	controller := http.NewResponseController(l.ResponseWriter)
	for b := range l.queue {
		select {
		case <-stop:
			continue
		case <-time.After(time.Until(b.due)):
		}
		if _, err := l.ResponseWriter.Write(b.text); err == nil {
			controller.Flush() //nolint:errcheck // the client may be gone
		}
	}
}

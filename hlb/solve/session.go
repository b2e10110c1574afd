// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"

	"github.com/openllb/hlb-operator/hlb/request"
)

type sessionAttachable = session.Attachable

// attachables makes what the session must serve beyond what the caller attaches: secrets and agents that the program
// names by path, and content stores. release closes what they hold open.
func attachables(
	needs request.Needs,
	l *layouts,
	imports []request.Import,
) (_ []session.Attachable, release func(), err error) {
	var out []session.Attachable
	var files []secretsprovider.Source
	for _, s := range needs.Secrets {
		if s.Path != "" {
			files = append(files, secretsprovider.Source{ID: s.ID, FilePath: s.Path})
		}
	}
	if len(files) > 0 {
		store, err := secretsprovider.NewStore(files)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, secretsprovider.NewSecretProvider(store))
	}
	agents, release, err := agentConfigs(needs.SSH)
	if err != nil {
		return nil, nil, err
	}
	if len(agents) > 0 {
		provider, err := sshprovider.NewSSHAgentProvider(agents)
		if err != nil {
			release()
			return nil, nil, err
		}
		out = append(out, provider)
	}
	if !l.empty() {
		stores := l.stores()
		if err := addLocalStores(stores, imports); err != nil {
			release()
			return nil, nil, err
		}
		out = append(out, sessioncontent.NewAttachable(stores))
	}
	return out, release, nil
}

// addLocalStores adds the directories that imports read, which the client adds itself only when nobody else serves
// stores.
func addLocalStores(stores map[string]content.Store, imports []request.Import) error {
	for _, imp := range imports {
		if imp.Layout == nil && imp.Entry.Type == "local" {
			store, err := contentlocal.NewStore(imp.Entry.Attrs["src"])
			if err != nil {
				return fmt.Errorf("cache directory %s: %w", imp.Entry.Attrs["src"], err)
			}
			stores["local:"+imp.Entry.Attrs["src"]] = store
		}
	}
	return nil
}

// agentConfigs turns needs into forwarded sockets. A tcp address becomes a unix socket that dials it per connection.
func agentConfigs(needs []request.SSH) (_ []sshprovider.AgentConfig, release func(), err error) {
	var closers []func()
	release = func() {
		for _, c := range closers {
			c()
		}
	}
	var out []sshprovider.AgentConfig
	for _, n := range needs {
		switch {
		case n.Declared:
			continue
		case n.Dial != "":
			sock, stop, err := proxySocket(n.Dial)
			if err != nil {
				release()
				return nil, nil, err
			}
			closers = append(closers, stop)
			out = append(out, sshprovider.AgentConfig{ID: n.ID, Paths: []string{sock}, Raw: true})
		default:
			out = append(out, sshprovider.AgentConfig{ID: n.ID, Paths: n.Paths, Raw: n.Raw})
		}
	}
	return out, release, nil
}

// proxySocket listens on a temporary unix socket and connects each client to addr. stop ends it and removes the socket.
func proxySocket(addr string) (sock string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "hlb-forward")
	if err != nil {
		return "", nil, err
	}
	sock = filepath.Join(dir, "proxy.sock")
	l, err := net.Listen("unix", sock)
	if err != nil {
		os.RemoveAll(dir)
		return "", nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go proxy(conn, addr)
		}
	}()
	return sock, func() { l.Close(); os.RemoveAll(dir) }, nil
}

func proxy(conn net.Conn, addr string) {
	defer conn.Close()
	up, err := net.Dial("tcp", addr)
	if err != nil {
		return // the command sees a closed connection
	}
	defer up.Close()
	done := make(chan struct{}, 2)
	pipe := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src) // either end may hang up; both sides see it
		if w, ok := dst.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		}
		done <- struct{}{}
	}
	go pipe(up, conn)
	go pipe(conn, up)
	<-done
	<-done
}

// exportEntry turns an output into BuildKit's exporter with its receiving end.
func exportEntry(o *request.Output, stdout io.Writer) (client.ExportEntry, error) {
	entry := client.ExportEntry{Type: o.Type, Attrs: o.Attrs}
	switch {
	case o.Stdout:
		entry.Output = func(map[string]string) (io.WriteCloser, error) { return unclosed{stdout}, nil }
	case o.Load:
		entry.Output = func(map[string]string) (io.WriteCloser, error) { return dockerLoad() }
	case o.Type == client.ExporterLocal:
		entry.OutputDir = o.Path
	case o.Path != "":
		if err := os.MkdirAll(filepath.Dir(o.Path), 0o755); err != nil {
			return entry, err
		}
		entry.Output = func(map[string]string) (io.WriteCloser, error) { return os.Create(o.Path) }
	}
	return entry, nil
}

// unclosed is a writer that stays open for others.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }

// dockerLoad opens a pipe into the image load of the Docker engine that DOCKER_HOST names, by default the local
// socket. Closing it waits for the engine's answer.
func dockerLoad() (io.WriteCloser, error) {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	u, err := url.Parse(host)
	if err != nil {
		return nil, fmt.Errorf("DOCKER_HOST: %w", err)
	}
	network, addr := "tcp", u.Host
	if u.Scheme == "unix" {
		network, addr = "unix", u.Path
	}
	hc := &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}},
	}
	pr, pw := io.Pipe()
	l := &loader{PipeWriter: pw, done: make(chan error, 1)}
	go func() {
		err := postImage(hc, pr)
		pr.CloseWithError(err)
		l.done <- err
	}()
	return l, nil
}

type loader struct {
	*io.PipeWriter
	done chan error
}

func (l *loader) Close() error {
	if err := l.PipeWriter.Close(); err != nil {
		return err
	}
	return <-l.done
}

// postImage sends a tarball and reads the engine's stream of messages, in which a failure is a message too.
func postImage(hc *http.Client, body io.Reader) error {
	resp, err := hc.Post("http://docker/images/load?quiet=1", "application/x-tar", body)
	if err != nil {
		return fmt.Errorf("load image into Docker: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("load image into Docker: %s", resp.Status)
	}
	for dec := json.NewDecoder(resp.Body); ; {
		var msg struct {
			Error string `json:"error"`
		}
		switch err := dec.Decode(&msg); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("load image into Docker: %w", err)
		case msg.Error != "":
			return fmt.Errorf("load image into Docker: %s", msg.Error)
		}
	}
}

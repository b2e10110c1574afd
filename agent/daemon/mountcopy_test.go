// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/agent/registry"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// mounts is a registry with daemons whose mounts are copied.
type mounts struct {
	t        *testing.T
	registry *buildkittest.Registry
	base     string
	program  []byte
}

func newMounts(t *testing.T) *mounts {
	t.Helper()
	r := buildkittest.StartRegistry(t)
	return &mounts{t: t, registry: r, base: r.Busybox(), program: buildkittest.Copier(t)}
}

func (m *mounts) daemon() (*daemon.Daemon, *buildkittest.Daemon) {
	m.t.Helper()
	bk := buildkittest.Start(m.t, buildkittest.Options{Registries: []string{m.registry.Address}})
	return dial(m.t, bk), bk
}

// run runs a script with the mount ns/a at /c.
func (m *mounts) run(bk *buildkittest.Daemon, script string, mode llb.CacheMountSharingMode) {
	m.t.Helper()
	state := llb.Image(m.base).
		Run(llb.Args([]string{"/bin/sh", "-ec", script}), llb.AddEnv("SALT", fmt.Sprint(time.Now().UnixNano())),
			llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir("ns/a", mode))).Root()
	def, err := state.Marshal(m.t.Context())
	if err == nil {
		_, err = bk.Client().Solve(m.t.Context(), def, client.SolveOpt{}, nil)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// look runs a script with an image of the repository at /image.
func (m *mounts) look(bk *buildkittest.Daemon, tag, script string) {
	m.t.Helper()
	def, err := llb.Image(m.base).Run(llb.Args([]string{"/bin/sh", "-ec", script}),
		llb.AddMount("/image", llb.Image(m.registry.Ref("cache:"+tag)), llb.Readonly)).Root().Marshal(m.t.Context())
	if err == nil {
		_, err = bk.Client().Solve(m.t.Context(), def, client.SolveOpt{}, nil)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *mounts) copy(sharing, tag string) *daemon.MountCopy {
	return &daemon.MountCopy{
		ID: "ns/a", Sharing: sharing, Tag: tag, Repository: m.repository(), Program: m.program,
		Annotations: map[string]string{"example.note": "kept"}, Timeout: time.Minute,
	}
}

func (m *mounts) repository() *registry.Repository {
	m.t.Helper()
	repo, err := registry.Open(m.registry.Ref("cache"), nil, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	return repo
}

func (m *mounts) snapshot(d *daemon.Daemon, c *daemon.MountCopy) (mountcopy.Result, string) {
	m.t.Helper()
	res, digest, err := d.Snapshot(m.t.Context(), c)
	if err != nil {
		m.t.Fatalf("snapshot: %v", err)
	}
	return res, digest
}

func (m *mounts) manifest(tag string) (registry.Manifest, bool) {
	m.t.Helper()
	man, found, err := m.repository().Manifest(m.t.Context(), tag)
	if err != nil {
		m.t.Fatal(err)
	}
	return man, found
}

func TestSnapshotMakesTheSameMountOnAnotherDaemon(t *testing.T) {
	t.Parallel()
	for sharing, mode := range map[string]llb.CacheMountSharingMode{"shared": llb.CacheMountShared,
		"locked": llb.CacheMountLocked} {
		t.Run(sharing, func(t *testing.T) {
			m := newMounts(t)
			d, bk := m.daemon()
			m.run(bk,
				"mkdir -p /c/d; head -c 3000000 /dev/urandom > /c/d/big; ln /c/d/big /c/same; touch -d 2001-02-03 /c/d; chown 7:8 /c/d/big; ln -s d /c/l; mkfifo /c/p", mode)
			first, digest := m.snapshot(d, m.copy(sharing, "1"))
			man, found := m.manifest("1")
			if !found || man.Digest != digest || man.Annotations[daemon.DigestAnnotation] != first.Digest ||
				man.Annotations["example.note"] != "kept" {
				t.Fatalf("the manifest is %+v, want digest %s and content %s", man, digest, first.Digest)
			}

			again := m.copy(sharing, "2")
			again.Image = man
			if res, _ := m.snapshot(d, again); res.Outcome != mountcopy.Unchanged {
				t.Errorf("the second snapshot is %+v, want it unchanged", res)
			}
			if _, pushed := m.manifest("2"); pushed {
				t.Error("an unchanged mount was pushed")
			}

			m.run(bk, "echo small > /c/new; rm /c/l", mode)
			next := m.copy(sharing, "3")
			next.Image = man
			changed, _ := m.snapshot(d, next)
			man, _ = m.manifest("3")
			if bytes := daemon.ContentLayers(man); len(bytes) != 2 || bytes[1] > bytes[0]/20 {
				t.Errorf("after a small change the layers have %v bytes, want a second one of at most a twentieth",
					bytes)
			}

			other, otherBK := m.daemon()
			// Others can use it as an image, too.
			m.look(otherBK, "3",
				`test "$(stat -c '%u:%g %s' /image/d/big)" = "7:8 3000000"; test -e /image/new; test ! -e /image/l`)
			next.Image = man
			if res, err := other.Prime(t.Context(), next); err != nil || res.Outcome != mountcopy.Copied {
				t.Fatalf("prime: %+v, %v", res, err)
			}
			got, err := other.DigestMount(t.Context(), next)
			if err != nil || got.Digest != changed.Digest {
				t.Errorf("the primed mount has digest %s (%v), want %s", got.Digest, err, changed.Digest)
			}
			m.run(otherBK,
				`test "$(stat -c %u:%g /c/d/big)" = 7:8; cmp /c/d/big /c/same; test ! -e /c/l; echo mine > /c/mine`,
				mode)
			if res, err := other.Prime(t.Context(), next); err != nil || res.Outcome != mountcopy.Held {
				t.Errorf("priming a mount in use: %+v, %v, want Held", res, err)
			}
		})
	}
}

func TestPrimingFromWhatIsNoSnapshotFails(t *testing.T) {
	t.Parallel()
	m := newMounts(t)
	d, bk := m.daemon()
	m.run(bk, "echo 1 > /c/f", llb.CacheMountShared)
	c := m.copy("shared", "1")
	m.snapshot(d, c)
	whole, _ := m.manifest("1")
	noIndex, lost := whole, whole
	noIndex.Layers = whole.Layers[:1]
	lost.Layers = slices.Clone(whole.Layers)
	lost.Layers[0].Digest = digest.FromString("nowhere")
	cases := map[string]struct {
		image registry.Manifest
		want  string
	}{
		"nothing":                      {registry.Manifest{}, "no snapshot of a mount"},
		"an image without an index":    {noIndex, "no snapshot of a mount"},
		"one whose layer is not there": {lost, "MANIFEST_UNKNOWN|BLOB_UNKNOWN|NOT_FOUND|404"},
	}
	other, otherBK := m.daemon()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c.Image = tc.image
			if res, err := other.Prime(t.Context(), c); err == nil ||
				!regexp.MustCompile(tc.want).MatchString(err.Error()) {
				t.Errorf("priming: %+v, %v, want an error with %q", res, err, tc.want)
			}
		})
	}
	m.run(otherBK, `test -z "$(ls -A /c)"`, llb.CacheMountShared)
}

func TestACopyThatIsGivenUpLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMounts(t)
	d, bk := m.daemon()
	m.run(bk, "head -c 30000000 /dev/urandom > /c/f", llb.CacheMountShared)
	m.snapshot(d, m.copy("shared", "1"))
	c := m.copy("shared", "")
	c.Image, _ = m.manifest("1")
	other, otherBK := m.daemon()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/cache/blobs/"+c.Image.Layers[0].Digest.String() {
			cancel(enough) // in the middle of it
		}
		httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: m.registry.Address}).ServeHTTP(w, r)
	}))
	defer slow.Close()
	var err error
	if c.Repository, err = registry.Open(strings.TrimPrefix(slow.URL, "http://")+"/cache", nil, nil); err != nil {
		t.Fatal(err)
	}
	if res, err := other.Prime(ctx, c); !errors.Is(err, enough) {
		t.Errorf("priming: %+v, %v, want %v", res, err, enough)
	}
	m.run(otherBK, `test -z "$(ls -A /c)"`, llb.CacheMountShared)
}

// TestASnapshotDoesNotWaitForLong has a build hold a locked mount for longer than a snapshot's patience. The build is
// not disturbed.
func TestASnapshotDoesNotWaitForLong(t *testing.T) {
	t.Parallel()
	m := newMounts(t)
	d, bk := m.daemon()
	m.run(bk, "echo 1 > /c/f", llb.CacheMountLocked)
	built := make(chan struct{})
	go func() {
		defer close(built)
		m.run(bk, "touch /c/held; sleep 5; echo 2 > /c/f", llb.CacheMountLocked)
	}()
	c := m.copy("locked", "1")
	c.Patience = time.Second
	for ended := false; ; { // the build may come to hold the mount late
		res, _, err := d.Snapshot(t.Context(), c)
		if errors.Is(err, daemon.ErrNotReached) {
			break
		}
		if err != nil || ended {
			t.Fatalf("the snapshot is %+v, %v, want %v", res, err, daemon.ErrNotReached)
		}
		select {
		case <-built:
			ended = true
		default:
		}
	}
	<-built
	if res, _ := m.snapshot(d, m.copy("locked", "2")); res.Outcome != mountcopy.Copied {
		t.Errorf("the snapshot after the build is %+v", res)
	}
}

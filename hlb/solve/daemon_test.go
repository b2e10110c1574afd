// SPDX-License-Identifier: Apache-2.0

//go:build integration

// The tests with this tag run a real buildkitd as root. Images come from a registry on loopback that the tests fill
// themselves.
package solve

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// frontend is a front end that adds a file to its input.
func frontend(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
	inputs, err := c.Inputs(ctx)
	if err != nil {
		return nil, err
	}
	st := inputs["context"].File(llb.Mkfile("/who", 0o644, []byte(c.BuildOpts().Opts["who"]+"\n")))
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	res, err := c.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB()})
	if err == nil {
		res.AddMeta(exporterImageConfig, []byte(`{"config":{"WorkingDir":"/made","Env":["PATH=/bin","MADE=yes"]}}`))
	}
	return res, err
}

// TestMain makes the test binary useful inside a build: as a front end, and as a client of unix sockets that sends a
// line and prints what comes back.
func TestMain(m *testing.M) {
	if os.Getenv("HLB_TEST_FRONTEND") != "" {
		if err := grpcclient.RunFromEnvironment(context.Background(), frontend); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	sock := os.Getenv("HLB_TEST_DIAL")
	if sock == "" {
		os.Exit(m.Run())
	}
	conn, err := net.Dial("unix", sock)
	if err == nil {
		_, err = fmt.Fprintln(conn, "hello", sock)
	}
	if err == nil {
		var line string
		if line, err = bufio.NewReader(conn).ReadString('\n'); err == nil {
			fmt.Print(line)
			os.Exit(0)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// fatal fails the test with an error, and the output of the step that failed.
func fatal(t *testing.T, err error) {
	t.Helper()
	var step *StepError
	if errors.As(err, &step) {
		t.Fatalf("%v\n%s", err, step.LogTail)
	}
	t.Fatal(err)
}

// site is a daemon and a registry with the image busybox.
type site struct {
	client   *client.Client
	registry string // host:port
	// base is the reference of the busybox image.
	base string
}

func newSite(t *testing.T) *site {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	s := &site{registry: strings.TrimPrefix(srv.URL, "http://")}
	s.base = s.registry + "/busybox:latest"
	push(t, s.base, busybox(t))
	s.client = startDaemon(t)
	return s
}

// startDaemon starts a daemon that grants every entitlement.
func startDaemon(t *testing.T) *client.Client {
	t.Helper()
	return buildkittest.Start(t, buildkittest.Options{Insecure: true}).Client()
}

func push(t *testing.T, ref string, img v1.Image) {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
}

func pull(t *testing.T, ref string) v1.Image {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(r)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// busybox is this machine's static busybox with links for its programs.
func busybox(t *testing.T) v1.Image {
	t.Helper()
	file, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("busybox-static is not installed: ", err)
	}
	dt, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	list, err := exec.Command(file, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h *tar.Header, dt []byte) {
		h.Size = int64(len(dt))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(dt); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin/", "etc/", "tmp/", "root/"} {
		add(&tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755}, nil)
	}
	add(&tar.Header{Name: "bin/busybox", Mode: 0o755}, dt)
	add(&tar.Header{Name: "etc/passwd", Mode: 0o644},
		[]byte("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"))
	add(&tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nnobody:x:65534:\n"))
	for _, p := range strings.Fields(string(list)) {
		if p != "busybox" {
			add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + p, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg.OS, cfg.Architecture = "linux", "amd64"
	cfg.Config.Env = []string{"PATH=/bin", "FROM_BASE=yes"}
	cfg.Config.WorkingDir = "/root"
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/kubernetes"
)

var profiles = flag.String("scale.profiles", "",
	"directory for profiles of the API server and the manager in the burst, none when empty")

// profileSeconds is how long each processor profile of the burst takes.
const profileSeconds = 30

// startProfiles profiles the processors from now on, and returns what profiles the memory and waits for all of it. A
// burst that is over sooner is profiled together with what follows.
func (f *fleet) startProfiles() (finish func()) {
	f.t.Helper()
	if *profiles == "" {
		return func() {}
	}
	if err := os.MkdirAll(*profiles, 0o755); err != nil {
		f.t.Fatal(err)
	}
	set, err := kubernetes.NewForConfig(f.config)
	if err != nil {
		f.t.Fatal(err)
	}
	server := func(kind string, seconds int) ([]byte, error) {
		get := set.Discovery().RESTClient().Get().AbsPath("/debug/pprof/" + kind)
		if seconds > 0 {
			get.Param("seconds", fmt.Sprint(seconds))
		}
		return get.DoRaw(f.t.Context())
	}
	var all sync.WaitGroup
	all.Go(func() { f.keepProfile("kube-apiserver.cpu", "profile", profileSeconds, server) })
	all.Go(func() { f.keepProfile("manager.cpu", "profile", profileSeconds, f.manager.profile) })
	return func() {
		all.Wait()
		f.keepProfile("kube-apiserver.heap", "heap", 0, server)
		f.keepProfile("manager.heap", "heap", 0, f.manager.profile)
	}
}

// getProfile reads a profile of one kind, over so many seconds where it takes time.
type getProfile func(kind string, seconds int) ([]byte, error)

// keepProfile writes a profile into a file. A failure is an error of the test, not its end.
func (f *fleet) keepProfile(name, kind string, seconds int, get getProfile) {
	data, err := get(kind, seconds)
	if err == nil {
		err = os.WriteFile(filepath.Join(*profiles, name+".pprof"), data, 0o644)
	}
	if err != nil {
		f.t.Errorf("profile %s: %v", name, err)
	}
}

// profile reads a profile of the manager.
func (m *manager) profile(kind string, seconds int) ([]byte, error) {
	url := fmt.Sprintf("http://%s/debug/pprof/%s", m.pprof, kind)
	if seconds > 0 {
		url += fmt.Sprintf("?seconds=%d", seconds)
	}
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", response.Status)
	}
	return io.ReadAll(response.Body)
}

// freeAddress is an address of this machine at which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// SPDX-License-Identifier: Apache-2.0

//go:build integration

package solve

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lower"
)

func TestSecretsSocketsAndLocalFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("secrets/a/token", "one")
	write("secrets/b/token", "two")
	write("secrets/b/other", "no")
	write("src/main.go", "package main")
	write("src/skip.txt", "no")
	tcp := echoServer(t, "tcp", "127.0.0.1:0")
	echoServer(t, "unix", filepath.Join(dir, "sock"))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	src := fmt.Sprintf(`
fs default() {
	image "$BASE"
	run <<-SH
		set -e
		cat /s/a/token /s/b/token > /out/secrets
		test ! -e /s/b/other
		ls /src > /out/src
		test "$(stat -c %%a:%%u /s/a/token)" = 440:7
		HLB_TEST_DIAL=/run/tcp /bin/dial/%[3]s > /out/tcp
		HLB_TEST_DIAL=/run/unix /bin/dial/%[3]s > /out/unix
		SH with option {
		secret "secrets" "/s" with option { includePatterns "**/token"; uid 7; mode 0o440; }
		mount fs { local "src" with includePatterns("*.go"); } "/src" with readonly
		forward "tcp://%[1]s" "/run/tcp"
		forward "unix://sock" "/run/unix" with mode(0o666)
		mount fs { local %[2]q; } "/bin/dial"
		mount scratch "/out" as out
	}
}
fs got() { out; download "got"; }`, tcp, exe, filepath.Base(exe))
	src = strings.ReplaceAll(src, "$BASE", s.base)
	prog := lower.Program{Filename: filepath.Join(dir, "build.hlb"), Source: []byte(src)}
	req, found, err := Compile(t.Context(), s.client, prog, lower.Options{Targets: []string{"got"}}, Options{})
	if err != nil || found.HasErrors() {
		t.Fatal(err, found)
	}
	if _, err := Run(t.Context(), s.client, req, Options{}); err != nil {
		fatal(t, err)
	}
	for name, want := range map[string]string{"secrets": "onetwo", "src": "main.go\n", "tcp": "hello /run/tcp\n",
		"unix": "hello /run/unix\n"} {
		if dt, err := os.ReadFile(filepath.Join(dir, "got", name)); err != nil || string(dt) != want {
			t.Errorf("%s: got %q, %v", name, dt, err)
		}
	}
}

// echoServer sends back what it gets.
func echoServer(t *testing.T, network, addr string) string {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	return l.Addr().String()
}

func TestServerProfileWithContextAndDeclaredSecret(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	context := llb.Scratch().File(llb.Mkdir("/sub", 0o755)).File(llb.Mkfile("/sub/f", 0o644, []byte("from context"))).
		File(llb.Mkfile("/lib.hlb", 0o644, []byte("export greet\nstring greet() { \"hello\"; }")))
	opts := Options{Session: []session.Attachable{
		secretsprovider.FromMap(map[string][]byte{"token": []byte("s3cret")}),
	}}
	prog := lower.Program{Filename: "build.hlb", Source: []byte(strings.NewReplacer("$BASE", s.base, "$REG", s.registry).Replace(`
import lib from "lib.hlb"
fs default(string who) {
	image "$BASE"
	run "echo ${lib.greet} ${who} > /o; cat /ctx/f >> /o; wc -c < /t >> /o" with option {
		mount local("sub") "/ctx"
		secret "token" "/t"
	}
}`))}
	compile := lower.Options{Profile: lower.ProfileServer, Context: &context, Secrets: []string{"token"},
		Args: map[string]string{"who": "you"}}
	req, found, err := Compile(t.Context(), s.client, prog, compile, opts)
	if err != nil || found.HasErrors() {
		t.Fatal(err, found)
	}
	opts.Outputs = []Output{{Target: "default", Image: s.registry + "/out:1"}}
	if _, err := Run(t.Context(), s.client, req, opts); err != nil {
		t.Fatal(err)
	}
	if got, want := file(t, pull(t, s.registry+"/out:1"), "o"), "hello you\nfrom context6\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheDigestOfAPushIsKnownWhileCompiling(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	res := s.run(t, `
fs app() { image "$BASE"; mkfile "f" 0o644 "x"; dockerPush "$REG/app:1" as d; }
fs note() { mkfile "digest" 0o644 d; dockerPush "$REG/note:1"; }`, lower.Options{Targets: []string{"note", "app"}}, Options{})
	d, err := pull(t, s.registry+"/app:1").Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got := file(t, pull(t, s.registry+"/note:1"), "digest"); got != d.String() {
		t.Errorf("noted %s, pushed %s", got, d)
	}
	if len(res.Outputs) != 2 {
		t.Errorf("outputs %+v", res.Outputs)
	}
}

func TestErrorsWhileCompilingAreDiagnostics(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, found, err := Compile(t.Context(), s.client, s.program(t, "fs default() {\n\timage \"$REG/gone:1\"\n}"),
		lower.Options{}, Options{})
	if err != nil || len(found) != 1 || found[0].Code != lower.Lookup || found[0].Primary.Start.Line != 2 {
		t.Errorf("got %v, %v", found, err)
	}
	_, found, err = Compile(t.Context(), s.client, s.program(t, "fs default() { imag \"x\"; }"), lower.Options{},
		Options{})
	if err != nil || len(found) != 1 || found[0].Code != diag.Undefined {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestGitAndAgent(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	sh := exec.Command("sh", "-ec", `
git init -q -b main r && cd r
echo content > f
git add f
git -c user.name=n -c user.email=e commit -q -m m
cd .. && git clone -q --bare r r.git && touch r.git/git-daemon-export-ok`)
	sh.Dir = dir
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	port := freePort(t)
	daemon := exec.Command("git", "daemon", "--reuseaddr", "--listen=127.0.0.1", "--port="+port, "--base-path="+dir,
		dir)
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-daemon.Process.Pid, syscall.SIGKILL); _ = daemon.Wait() })
	waitFor(t, "127.0.0.1:"+port)
	agentSock := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", agentSock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s.run(t, fmt.Sprintf(`
fs default() {
	image "$BASE"
	run "test -S $SSH_AUTH_SOCK && test $SSH_AUTH_SOCK = /agent && test -d /r/.git && cp /r/f /f" with option {
		mount fs { git "git://127.0.0.1:%s/r.git" "main" with keepGitDir; } "/r"
		ssh with option { localPaths %q; target "/agent"; }
	}
	dockerPush "$REG/git:1"
}`, port, agentSock), lower.Options{}, Options{})
	if got := file(t, pull(t, s.registry+"/git:1"), "f"); got != "content\n" {
		t.Errorf("got %q", got)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func waitFor(t *testing.T, addr string) {
	t.Helper()
	for range 200 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", addr)
}

// The test binary as a front end: it adds a file with an option's value to its input.
func TestFrontendImage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.run(t, fmt.Sprintf(`
fs default() {
	scratch
	copy fs { local %q; } %q "/frontend"
	env "HLB_TEST_FRONTEND" "yes"
	entrypoint "/frontend"
	label "moby.buildkit.frontend.caps" "moby.buildkit.frontend.inputs"
	dockerPush "$REG/frontend:1"
}`, exe, "/"+filepath.Base(exe)), lower.Options{}, Options{})
	s.run(t, `
fs default() {
	frontend "$REG/frontend:1" with option {
		input "context" image("$BASE")
		opt "who" "me"
	}
	run "cp /who who; echo $MADE >> who"
	dockerPush "$REG/made:1"
}`, lower.Options{}, Options{})
	if got := file(t, pull(t, s.registry+"/made:1"), "made/who"); got != "me\nyes\n" {
		t.Errorf("got %q", got)
	}
}

// One program with every builtin but those that need a service of their own: git, frontend, ssh, forward and
// dockerLoad.
func TestAProgramWithEveryBuiltin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "from the web")
	}))
	t.Cleanup(web.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := strings.NewReplacer("$BASE", s.base, "$REG", s.registry, "$WEB", web.URL).Replace(everything)
	prog := lower.Program{Filename: filepath.Join(dir, "build.hlb"), Source: []byte(src)}
	req, found, err := Compile(t.Context(), s.client, prog, lower.Options{}, Options{})
	if err != nil || found.HasErrors() {
		t.Fatal(err, found)
	}
	if _, err := Run(t.Context(), s.client, req, Options{}); err != nil {
		fatal(t, err)
	}
	img := pull(t, s.registry+"/all:1")
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := cfg.Config
	if fmt.Sprintf("%v %v %v %v %v %s %s %s", c.Entrypoint, c.Cmd, c.Labels, c.ExposedPorts, c.Volumes, c.StopSignal,
		c.User, c.WorkingDir) !=
		"[/bin/e] [c] map[l:2] map[80/tcp:{}] map[/v:{}] SIGTERM nobody /job" {
		t.Errorf("config %+v", c)
	}
	for name, want := range map[string]string{"job/web": "from the web", "job/text": "a:\"b\" hi you 1 true",
		"job/who": "nobody\n", "job/run": "K=V /tmp\n"} {
		if got := file(t, img, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

const everything = `
string words() { format "%s:%q" "a" "b"; }
string greeting() { template "hi {{.who}}" with option { stringField "who" "you"; }; }
int one() { 1; }
bool yes() { true; }
fs tools() {
	image "$BASE" with option { resolve; }
	shell "/bin/sh" "-ec"
	run "mkdir -p /job /out && touch /job/old" with option { dir "/tmp"; user "root"; readonlyRootfs; mount scratch "/job"; mount scratch "/out"; }
	mkdir "/job" 0o777 with option { createParents; chown "nobody"; createdTime "2020-01-01T00:00:00Z"; }
	mkfile "/job/old" 0o644 "x" with option { chown "1:1"; createdTime "2020-01-01T00:00:00Z"; }
	rm "/job/ol*" with option { allowWildcard; allowNotFound; }
	env "K" "V"
	dir "/job"
}
fs page() { http "$WEB/x" with option { filename "web"; chmod 0o644; }; }
fs build() {
	tools
	run "echo K=$K $PWD > /out/run; whoami > /out/who; cat /run/s > /dev/null; grep 10.9.8.7 /etc/hosts > /dev/null; touch /t/x /cache/x /c2/x" with option {
		env "A" "B"
		dir "/tmp"
		user "nobody"
		host "example" "10.9.8.7"
		network "unset"
		security "sandbox"
		ignoreCache
		secret "secret" "/run/s" with option { uid 65534; gid 65534; mode 0o400; }
		mount fs { mkdir "/d" 0o777; } "/out" with sourcePath("/d") as out
		mount scratch "/t" with tmpfs
		mount fs { mkdir "/d" 0o777; } "/cache" with option { cache "every" "private"; sourcePath "/d"; }
		mount fs { mkdir "/d/sub" 0o755 with createParents; } "/ro" with option { readonly; sourcePath "/d"; }
		cacheMount "/c2" with option { id "every2"; sharing "locked"; permissions 0o777; owner 65534 65534; }
	}
	run "true" "two args" with network("none")
	run "sh -c 'exit 0'" with shlex
	run "true" with option { network "host"; security "insecure"; }
}
fs default() {
	build
	copy page "/web" "/job/web"
	copy out "/d" "/job/" with option {
		contentsOnly; createDestPath; followSymlinks; allowWildcard; allowEmptyWildcard
		chown "nobody"; chmod 0o644; createdTime "2020-01-01T00:00:00Z"; includePatterns "who" "run"; excludePatterns "nothing"
	}
	mkfile "text" 0o644 "${words} ${greeting} ${one} ${yes}"
	merge fs { mkfile "/merged" 0o644 "${localArch}${localOs}${localCwd}${localEnv("HOME")}${string { localRun "echo x"; }}"; }
	copy fs { tools; mkfile "/new" 0o644 "n"; diff tools; } "/" "/"
	user "nobody"
	entrypoint "/bin/e"
	cmd "c"
	label "l" "1"
	label "l" "2"
	expose "80"
	volumes "/v"
	stopSignal "SIGTERM"
	cacheContext scratch with option { toLocal "cache"; mode "min"; ignoreErrors; }
	dockerPush "$REG/all:1" with inlineCache
	download "dir"
	downloadTarball "fs.tar"
	downloadOCITarball "oci.tar"
	downloadDockerTarball "docker.tar" "all:1"
	breakpoint
}
`

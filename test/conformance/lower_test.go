// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/request"
)

var update = flag.Bool("update", false, "write what the compiler yields into the lower_*.txt files")

// lowerCase is one chunk of a lower_*.txt file. Chunks are parted by lines of "---". A chunk is a header, an empty
// line, a program, a line "===" and what must come of it: the request with the text of each definition, or the
// diagnostics. Header lines:
//
//	case N: sentence      number in the list of behaviours, and what is shown
//	target NAME           what to compile instead of default; several lines for several targets
//	server                compile with the server profile
//	config                show the image config too
//	push DIGEST           a push while compiling answers this
//	context REF           what local means on a server: this image
//	secret NAME           the build declares a secret; ssh NAME likewise an agent
//	namespace NAME        of cache mounts
//	entitle NAME          programs may have this entitlement
//	arg NAME=VALUE        an argument of the target
//	nocaches              cacheContext does nothing
//	docker                the daemon is the one inside of Docker Engine
//	file NAME             the chunk is a file beside the file's programs, not a case
type lowerCase struct {
	header, program, want string

	name, file, push string
	config           bool
	opts             hlb.Options
}

func readLowerCases(t *testing.T, path string) []*lowerCase {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []*lowerCase
	for _, chunk := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n---\n") {
		c := &lowerCase{}
		c.header, c.program, _ = strings.Cut(chunk, "\n\n")
		c.program, c.want, _ = strings.Cut(c.program, "\n===\n")
		for _, line := range strings.Split(c.header, "\n") {
			if !c.read(line) {
				t.Fatalf("%s: unknown header line %q", path, line)
			}
		}
		cases = append(cases, c)
	}
	return cases
}

func (c *lowerCase) read(line string) bool {
	key, rest, _ := strings.Cut(line, " ")
	switch key {
	case "case":
		c.name = rest
	case "target":
		c.opts.Targets = append(c.opts.Targets, rest)
	case "server":
		c.opts.Profile = hlb.ProfileServer
	case "config":
		c.config = true
	case "push":
		c.push = rest
	case "file":
		c.file = rest
	case "context":
		st := llb.Image(rest)
		c.opts.Context = &st
	case "secret":
		c.opts.Secrets = append(c.opts.Secrets, rest)
	case "ssh":
		c.opts.SSH = append(c.opts.SSH, rest)
	case "namespace":
		c.opts.CacheMountNamespace = rest
	case "entitle":
		c.opts.AllowedEntitlements = append(c.opts.AllowedEntitlements, rest)
	case "arg":
		name, value, _ := strings.Cut(rest, "=")
		if c.opts.Args == nil {
			c.opts.Args = map[string]string{}
		}
		c.opts.Args[name] = value
	case "nocaches":
		c.opts.DisableProgramCaches = true
	case "docker":
		c.opts.DockerEngine = true
	default:
		return false
	}
	return true
}

// fakePusher answers every push with one digest and counts them.
type fakePusher struct {
	digest digest.Digest
	pushes int
}

func (p *fakePusher) Push(context.Context, *request.Node) (digest.Digest, error) {
	p.pushes++
	return p.digest, nil
}

func TestLowering(t *testing.T) {
	files, err := filepath.Glob("lower_*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		cases := readLowerCases(t, file)
		dir := t.TempDir()
		for _, c := range cases {
			if c.file != "" {
				writeFile(t, filepath.Join(dir, c.file), c.program)
			}
		}
		changed := false
		for _, c := range cases {
			if c.file != "" {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				got := c.compile(t, dir)
				if again := c.compile(t, dir); again != got {
					t.Errorf("compiling twice differs:\n%s", cmp.Diff(got, again))
				}
				if *update && got != c.want {
					c.want, changed = got, true
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		}
		if changed {
			writeCases(t, file, cases)
		}
	}
}

func writeCases(t *testing.T, file string, cases []*lowerCase) {
	t.Helper()
	var chunks []string
	for _, c := range cases {
		chunk := c.header + "\n\n" + c.program
		if c.file == "" {
			chunk += "\n===\n" + c.want
		}
		chunks = append(chunks, chunk)
	}
	if err := os.WriteFile(file, []byte(strings.Join(chunks, "\n---\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// compile renders what compiling the case yields.
func (c *lowerCase) compile(t *testing.T, dir string) string {
	t.Helper()
	ids := 0
	opts := c.opts
	opts.Platform = &ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	opts.IDSource = func() string { ids++; return fmt.Sprintf("id%d", ids) }
	pusher := &fakePusher{digest: digest.Digest(c.push)}
	if c.push != "" {
		opts.Pusher = pusher
	}
	prog := hlb.Program{Filename: filepath.Join(dir, "build.hlb"), Source: []byte(c.program)}
	if opts.Profile == hlb.ProfileServer {
		prog.Filename, prog.Files = "build.hlb", os.DirFS(dir)
	}
	req, errs := hlb.Compile(t.Context(), prog, opts)
	var b strings.Builder
	if len(errs) > 0 {
		for _, d := range errs {
			fmt.Fprintf(&b, "%s %d:%d %s", d.Code, d.Primary.Start.Line, d.Primary.Start.Column, d.Message)
			if d.Hint != "" {
				fmt.Fprintf(&b, " (%s)", d.Hint)
			}
			b.WriteString("\n")
		}
	} else {
		renderRequest(&b, req, c.config)
	}
	if pusher.pushes > 0 {
		fmt.Fprintf(&b, "pushes %d\n", pusher.pushes)
	}
	return strings.TrimSuffix(strings.ReplaceAll(b.String(), dir, "$DIR"), "\n")
}

func renderRequest(b *strings.Builder, req *hlb.Request, config bool) {
	fmt.Fprintf(b, "%s\n", req.Root)
	for _, leaf := range req.Root.Leaves() {
		if len(req.Root.Leaves()) > 1 {
			fmt.Fprintf(b, "-- %s\n", leaf)
		}
		b.WriteString(request.Text(leaf.Solve.Definition))
		if config {
			b.WriteString(configText(leaf.Solve.ImageConfig))
		}
	}
	for _, s := range scopesOf(req) {
		renderScope(b, s)
	}
	for _, m := range req.CacheMounts {
		fmt.Fprintf(b, "cache mount %q at %s %s\n", m.ID, m.Target, m.Sharing)
	}
	needs := req.Needs()
	for _, e := range needs.Entitlements {
		fmt.Fprintf(b, "entitlement %s\n", e)
	}
	for _, s := range needs.Secrets {
		fmt.Fprintf(b, "secret %s %s\n", short(s.ID), s.Path)
	}
	for _, s := range needs.SSH {
		fmt.Fprintf(b, "ssh %s declared=%t raw=%t %s%s\n", short(s.ID), s.Declared, s.Raw, strings.Join(s.Paths, " "),
			s.Dial)
	}
}

// short cuts digests, which hold paths of temporary directories.
func short(id string) string {
	if strings.HasPrefix(id, "sha256:") {
		return "sha256:…"
	}
	return id
}

// scopesOf returns the cache scopes of the whole tree, each once, in order.
func scopesOf(req *hlb.Request) []*request.Scope {
	var out []*request.Scope
	for _, leaf := range req.Root.Leaves() {
		for _, s := range leaf.Solve.Scopes {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

func renderScope(b *strings.Builder, s *request.Scope) {
	fmt.Fprintf(b, "-- scope\n%s", request.Text(s.Section.Definition))
	for _, i := range s.Imports {
		if i.Layout != nil {
			fmt.Fprintf(b, "import the layout in\n%s", request.Text(i.Layout.Definition))
			continue
		}
		fmt.Fprintf(b, "import %s %v\n", i.Entry.Type, i.Entry.Attrs)
	}
	for _, e := range s.Exports {
		fmt.Fprintf(b, "export %s %v\n", e.Type, e.Attrs)
	}
}

// configText shows an image config without its history and layers.
func configText(dt []byte) string {
	var img ocispecs.Image
	if err := json.Unmarshal(dt, &img); err != nil {
		return err.Error()
	}
	out, err := json.Marshal(img.Config)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("config %s/%s %s\n", img.OS, img.Architecture, out)
}

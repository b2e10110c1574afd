// SPDX-License-Identifier: Apache-2.0

package localimages

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/openllb/hlb-operator/hack/toolchain"
)

// operatorUser is the user the operator's image runs as, the number "nonroot" has in other images.
const operatorUser = 65532

// Image builds an image by its name: "operator", "buildkit", "busybox" or "golang".
func (b *Builder) Image(ctx context.Context, name string) (v1.Image, error) {
	build, known := map[string]func(context.Context) (v1.Image, error){
		"operator": b.Operator, "buildkit": b.BuildKit, "busybox": b.Busybox, "golang": b.Golang,
	}[name]
	if !known {
		return nil, fmt.Errorf("no image %q: there are %s", name, strings.Join(Names, ", "))
	}
	if err := toolchain.InstallPackages(ctx); err != nil {
		return nil, err
	}
	image, err := build(ctx)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	return image, nil
}

// Repositories maps the images to their names in a registry.
var Repositories = map[string]string{
	"operator": "hlb-operator", "buildkit": "hlb-operator-buildkit", "busybox": "busybox", "golang": "golang",
}

// Names are the images that Image builds.
var Names = []string{"operator", "buildkit", "busybox", "golang"}

// Operator is the image of manager, agent, the copier of mounts and what gives steps their networks: four static
// programs and CA certificates, run as a user who is not root.
func (b *Builder) Operator(ctx context.Context) (v1.Image, error) {
	dir := filepath.Join(b.dir, "operator")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	content := tree{"tmp": {dir: true, mode: 0o777 | fs.ModeSticky}}
	for _, program := range []string{"manager", "agent", "mountcopy", "stepnet"} {
		file := filepath.Join(dir, program)
		cmd := exec.CommandContext(
			ctx,
			"go",
			"build",
			"-trimpath",
			"-buildvcs=false",
			"-ldflags",
			"-s -w",
			"-o",
			file,
			"./cmd/"+program,
		)
		cmd.Dir, cmd.Env = b.chain.Root, append(
			os.Environ(),
			"CGO_ENABLED=0",
			"GOTOOLCHAIN=local",
			"GOFLAGS=",
			"GOWORK=off",
		)
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", program, err, text)
		}
		content[program] = entry{from: file}
	}
	content["etc/ssl/certs/ca-certificates.crt"] = entry{from: "/etc/ssl/certs/ca-certificates.crt", mode: 0o644}
	return b.image(v1.Config{
		Entrypoint: []string{"/manager"}, User: fmt.Sprintf("%d:%d", operatorUser, operatorUser),
		Env: []string{"PATH=/"}, WorkingDir: "/",
	}, content)
}

// BuildKit is the image of the daemons: buildkitd, buildctl and a static runc over git, ssh, CA certificates and a
// shell.
func (b *Builder) BuildKit(ctx context.Context) (v1.Image, error) {
	base := tree{
		"tmp":  {dir: true, mode: 0o777 | fs.ModeSticky},
		"run":  {dir: true, mode: 0o755},
		"root": {dir: true, mode: 0o700},
		"etc/passwd": {
			text: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
			mode: 0o644,
		},
		"etc/group":                         {text: "root:x:0:\nnogroup:x:65534:\n", mode: 0o644},
		"etc/nsswitch.conf":                 {text: "passwd: files\ngroup: files\nhosts: files dns\n", mode: 0o644},
		"etc/ssl/certs/ca-certificates.crt": {from: "/etc/ssl/certs/ca-certificates.crt", mode: 0o644},
	}
	if err := addBusybox(base); err != nil {
		return nil, err
	}
	for _, program := range []string{"git", "ssh", "/usr/lib/git-core/git-remote-http",
		"/usr/lib/git-core/git-sh-i18n--envsubst"} {
		if err := addProgram(base, program); err != nil {
			return nil, err
		}
	}
	// BuildKit updates submodules after every checkout
	for _, script := range []string{"git-submodule", "git-sh-setup", "git-sh-i18n"} {
		if err := base.addFile("/usr/lib/git-core/" + script); err != nil {
			return nil, err
		}
	}
	for _, alias := range []string{"git-remote-https", "git-upload-pack"} { // found by git in its own folder
		target := "git-remote-http"
		if alias == "git-upload-pack" {
			target = "/usr/bin/git"
		}
		base["usr/lib/git-core/"+alias] = entry{link: target}
	}
	daemon := tree{}
	for program, set := range map[string]toolchain.Set{"buildkitd": toolchain.BuildKit, "buildctl": toolchain.BuildKit,
		"runc": toolchain.Runc} {
		dir, err := b.chain.Dir(ctx, set)
		if err != nil {
			return nil, err
		}
		daemon["usr/bin/"+program] = entry{from: filepath.Join(dir, program)}
	}
	return b.image(v1.Config{
		Entrypoint: []string{"buildkitd"}, Env: []string{searchPath, "HOME=/root"}, WorkingDir: "/",
		Volumes: map[string]struct{}{"/var/lib/buildkit": {}},
	}, base, daemon)
}

// Busybox is a base with a shell and the usual small programs.
func (b *Builder) Busybox(context.Context) (v1.Image, error) {
	content := tree{
		"tmp":        {dir: true, mode: 0o777 | fs.ModeSticky},
		"root":       {dir: true, mode: 0o700},
		"etc/passwd": {text: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", mode: 0o644},
		"etc/group":  {text: "root:x:0:\nnogroup:x:65534:\n", mode: 0o644},
	}
	if err := addBusybox(content); err != nil {
		return nil, err
	}
	return b.image(v1.Config{Cmd: []string{"/bin/sh"}, Env: []string{searchPath}, WorkingDir: "/"}, content)
}

// Golang is busybox with this machine's Go toolchain: what `go build` needs with CGO_ENABLED=0, without tests and docs.
func (b *Builder) Golang(context.Context) (v1.Image, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find the Go toolchain: %w", err)
	}
	base := tree{
		"tmp":                               {dir: true, mode: 0o777 | fs.ModeSticky},
		"root":                              {dir: true, mode: 0o700},
		"etc/passwd":                        {text: "root:x:0:0:root:/root:/bin/sh\n", mode: 0o644},
		"etc/ssl/certs/ca-certificates.crt": {from: "/etc/ssl/certs/ca-certificates.crt", mode: 0o644},
	}
	if err := addBusybox(base); err != nil {
		return nil, err
	}
	sdk := tree{}
	if err := sdk.addFolder(strings.TrimSpace(string(root)), "usr/local/go", skipInGo); err != nil {
		return nil, err
	}
	return b.image(v1.Config{
		Cmd: []string{"/bin/sh"}, WorkingDir: "/",
		Env: []string{
			"PATH=/usr/local/go/bin:" + strings.TrimPrefix(searchPath, "PATH="),
			"GOTOOLCHAIN=local",
			"CGO_ENABLED=0",
			"GOFLAGS=-buildvcs=false",
		},
	}, base, sdk)
}

// skipInGo leaves out of GOROOT what builds nothing: tests, documentation, the compiler's own sources.
func skipInGo(inside string, e fs.DirEntry) bool {
	if e.IsDir() {
		switch inside {
		case "test", "doc", "api", "misc", "src/cmd":
			return true
		}
		return e.Name() == "testdata"
	}
	return strings.HasSuffix(inside, "_test.go")
}

// addBusybox adds the static busybox of Debian's busybox-static and a link for each of its programs.
func addBusybox(t tree) error {
	file, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	if libs, err := needed(file); err != nil || len(libs) > 0 {
		return fmt.Errorf(
			"%s is not static, install busybox-static (%w)",
			file,
			errors.Join(err, fmt.Errorf("needs %v", libs)),
		)
	}
	names, err := exec.Command(file, "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox --list: %w", err)
	}
	t["bin/busybox"] = entry{from: file, mode: 0o755}
	for _, name := range strings.Fields(string(names)) {
		if name != "busybox" {
			t["bin/"+name] = entry{link: "busybox"}
		}
	}
	return nil
}

// libraryFolders are where Debian and its kin keep shared libraries.
var libraryFolders = []string{"/lib/*-linux-gnu*", "/usr/lib/*-linux-gnu*", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

// addProgram adds a program of this machine and the shared libraries it needs, at the paths they have here.
func addProgram(t tree, program string) error {
	file, err := exec.LookPath(program)
	if err != nil {
		return err
	}
	todo := []string{file}
	for len(todo) > 0 {
		file, todo = todo[0], todo[1:]
		if _, done := t[strings.TrimPrefix(file, "/")]; done {
			continue
		}
		if err := t.addFile(file); err != nil {
			return err
		}
		libs, err := needed(file)
		if err != nil {
			return err
		}
		for _, lib := range libs {
			found, err := findLibrary(lib)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			todo = append(todo, found)
		}
	}
	return nil
}

// needed lists the libraries an ELF file names, and its loader by absolute path.
func needed(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	defer f.Close()
	libs, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			text := make([]byte, p.Filesz)
			if _, err := p.ReadAt(text, 0); err != nil {
				return nil, err
			}
			libs = append(libs, strings.TrimRight(string(text), "\x00"))
		}
	}
	return libs, nil
}

func findLibrary(lib string) (string, error) {
	if path.IsAbs(lib) {
		return lib, nil
	}
	for _, pattern := range libraryFolders {
		if files, err := filepath.Glob(filepath.Join(pattern, lib)); err == nil && len(files) > 0 {
			return files[0], nil
		}
	}
	return "", fmt.Errorf("library %s not found", lib)
}

// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/diag"
)

func (e *evaluator) textFormat(c *call) (string, error) {
	format, values := c.str(0), make([]any, 0, len(c.args)-1)
	sizes := make([]int, 0, len(c.args)-1)
	for _, a := range c.args[1:] {
		values, sizes = append(values, a.str()), append(sizes, len(a.str()))
	}
	// Measured before it is made, because a few bytes of format can ask for gigabytes.
	if err := e.fits(formatSize(format, sizes, 0), c.span); err != nil {
		return "", err
	}
	return fmt.Sprintf(format, values...), nil
}

// formatSize is an upper bound for the length of a formatted text, up to the few bytes that quoting and notes on
// errors add to each value. sizes are the lengths of the values; star is the greatest number among them, which a '*'
// may take for a width.
func formatSize(format string, sizes []int, star int) int {
	size, next := len(format), 0
	for i := 0; i < len(format) && size <= 1<<40; i++ {
		if format[i] != '%' {
			continue
		}
		num, index := 0, false
		for i++; i < len(format); i++ {
			switch ch := format[i]; {
			case ch >= '0' && ch <= '9':
				num = min(num*10+int(ch-'0'), 1<<30)
				continue
			case ch == '[':
				num, index = 0, true
				continue
			case ch == ']':
				if index {
					next = num - 1
				}
				num, index = 0, false
				continue
			case ch == '*':
				size, num, next = size+num+star+len(badWidth), 0, next+1
				continue
			case ch == '.', strings.IndexByte("+-# ", ch) >= 0:
				size, num = size+num, 0
				continue
			}
			break
		}
		size += num
		if next >= 0 && next < len(sizes) {
			size += sizes[next]
		}
		next++
	}
	return size
}

// badWidth is what a '*' yields for a value that is no number.
const badWidth = "%!(BADWIDTH)"

func (e *evaluator) textLocalArch(*call) (string, error) {
	if e.server() {
		return e.platform.Architecture, nil
	}
	_, arch := e.opts.Host.Platform()
	return arch, nil
}

func (e *evaluator) textLocalOs(*call) (string, error) {
	if e.server() {
		return e.platform.OS, nil
	}
	os, _ := e.opts.Host.Platform()
	return os, nil
}

func (e *evaluator) textLocalCwd(c *call) (string, error) {
	if e.server() {
		return "", e.refuse(c, "give the target a string parameter and set it in spec.args")
	}
	dir, err := e.opts.Host.Cwd()
	if err != nil {
		return "", e.conversion(diag.Conversion, c.span, "%v", err)
	}
	return dir, nil
}

func (e *evaluator) textLocalEnv(c *call) (string, error) {
	if e.server() {
		return "", e.refuse(c, "give the target a string parameter and set it in spec.args")
	}
	return e.opts.Host.Environ(c.str(0)), nil
}

func (e *evaluator) textLocalRun(c *call) (string, error) {
	if e.server() {
		return "", e.refuse(c, "run the command in the build with run, or pass its result in spec.args")
	}
	set := map[string]bool{}
	for _, o := range c.opts {
		set[o.name] = true
	}
	args := strs(c.args)
	switch {
	case len(args) == 1 && set["shlex"]:
		split, err := splitWords(args[0])
		if err != nil || len(split) == 0 {
			return "", e.conversion(diag.Conversion, c.span, "%q can't be split into a command", args[0])
		}
		args = split
	case len(args) == 1:
		args = append(append([]string{}, defaultShell...), args[0])
	}
	dir, err := machinePath(c.dir, ".")
	if err != nil {
		return "", e.conversion(diag.Conversion, c.span, "%v", err)
	}
	out, errOut, both, err := e.opts.Host.Run(e.ctx, dir, args)
	var exit *exec.ExitError
	if err != nil && !(set["ignoreError"] && errors.As(err, &exit)) {
		if late := e.timeout(c.span); late != nil {
			return "", late
		}
		d := e.conversion(diag.Conversion, c.span, "localRun %s: %v", strings.Join(args, " "), err)
		if msg := strings.TrimSpace(string(errOut)); msg != "" {
			d.WithHint("%s", msg)
		}
		return "", d
	}
	switch {
	case set["onlyStderr"]:
		out = errOut
	case set["includeStderr"]:
		out = both
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// textManifest looks an image up in its registry. Digest and config can come through the daemon; the manifest itself
// can't.
func (e *evaluator) textManifest(c *call) (string, error) {
	named, err := e.normalize(c.args[0])
	if err != nil {
		return "", err
	}
	p := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	for _, o := range c.opts {
		if o.name == "platform" {
			p = ocispecs.Platform{OS: o.args[0].str(), Architecture: o.args[1].str()}
		}
	}
	if err := e.allow(UseImage, named.String(), c.args[0].span); err != nil {
		return "", err
	}
	through := e.manifestThroughDaemon(c, named.String(), p)
	setEffect(c.binds, "digest", func() (value, error) {
		m, err := through()
		return e.text(m.Digest.String()), err
	})
	setEffect(c.binds, "config", func() (value, error) {
		m, err := through()
		return e.text(m.Config), err
	})
	setEffect(c.binds, "index", func() (value, error) {
		m, err := e.manifest(c, named.String(), p)
		if err == nil && m.Index == "" {
			err = e.conversion(diag.Conversion, c.span, "%s has no index: it is a single image", named)
		}
		return e.text(m.Index), err
	})
	if e.onlyEffect(c.binds) {
		return "", nil // no need to look up what nobody asked for, and perhaps can't be looked up
	}
	m, err := e.manifest(c, named.String(), p)
	return m.Manifest, err
}

func (e *evaluator) manifest(c *call, ref string, p ocispecs.Platform) (Manifest, error) {
	if e.opts.Registry == nil {
		if e.server() {
			return Manifest{}, e.refuse(c, "bind its digest or config with as, or write the digest into the program")
		}
		return Manifest{}, e.needsDaemon(c, "manifest")
	}
	m, err := e.opts.Registry.Manifest(e.ctx, ref, p)
	if err != nil {
		return Manifest{}, e.failed(c.args[0].span, err, "can't look up %s", ref)
	}
	return m, e.chargeText(len(m.Manifest)+len(m.Config)+len(m.Index), c.span)
}

// manifestThroughDaemon returns a look-up of digest and config that prefers the daemon.
func (e *evaluator) manifestThroughDaemon(c *call, ref string, p ocispecs.Platform) func() (Manifest, error) {
	return func() (Manifest, error) {
		if e.opts.Resolver == nil {
			return e.manifest(c, ref, p)
		}
		_, dgst, config, err := e.opts.Resolver.ResolveImageConfig(e.ctx, ref, sourceresolver.Opt{
			ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &p},
		})
		if err != nil {
			return Manifest{}, e.failed(c.args[0].span, err, "can't look up %s", ref)
		}
		return Manifest{Digest: dgst, Config: string(config)}, e.chargeText(len(config), c.span)
	}
}

// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// defaultAgent is the id of the agent that ssh means unless it names another.
const defaultAgent = "default"

// owner is who a socket or secret belongs to, and its mode.
type owner struct {
	uid, gid, mode int
}

func ownerOf(opts []*option, mode int) owner {
	o := owner{mode: mode}
	for _, opt := range opts {
		switch opt.name {
		case "uid":
			o.uid = opt.args[0].int()
		case "gid":
			o.gid = opt.args[0].int()
		case "mode":
			o.mode = opt.args[0].int()
		}
	}
	return o
}

// secretOption mounts a secret file, or every file of a directory that the patterns select.
func (e *evaluator) secretOption(x *execution, o *option) error {
	if e.server() {
		return e.declaredSecret(x, o)
	}
	name, err := machinePath(o.dir, o.args[0].str())
	if err != nil {
		return e.conversion(diag.Conversion, o.span, "%v", err)
	}
	target := o.args[1].str()
	file := request.Secret{ID: digest.FromString(name).String(), Path: name}
	st, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && isOptional(o):
		e.mountSecret(x, o, file.ID, target)
		return nil
	case err != nil:
		return e.conversion(diag.Conversion, o.span, "secret %s: %v", o.args[0].str(), reason(err))
	case !st.IsDir():
		e.addSecret(x, o, file, target)
		return nil
	}
	files, err := e.secretFiles(name, o)
	if err != nil {
		return e.conversion(diag.Conversion, o.span, "secret %s: %v", o.args[0].str(), reason(err))
	}
	for _, f := range files {
		file := filepath.Join(name, f)
		e.addSecret(
			x,
			o,
			request.Secret{ID: digest.FromString(file).String(), Path: file},
			path.Join(target, filepath.ToSlash(f)),
		)
	}
	return nil
}

// declaredSecret is secret on a server: its path is the name of a secret that the build declares.
func (e *evaluator) declaredSecret(x *execution, o *option) error {
	id := o.args[0].str()
	if !contains(e.opts.Secrets, id) {
		if isOptional(o) {
			e.mountSecret(x, o, id, o.args[1].str())
			return nil
		}
		d := e.conversion(NotDeclared, o.args[0].span, "the build declares no secret %q", id).
			WithHint("declare it in spec.secrets; the first argument of secret is its name there")
		return spell.Among(id, e.opts.Secrets).Hint(d)
	}
	for _, opt := range o.with {
		if strings.HasSuffix(opt.name, "Patterns") {
			return diag.Errorf(NotHere, opt.span, "%s selects files of a directory, but a declared secret is one file",
				opt.name).
				WithHint("declare each file as a secret of its own")
		}
	}
	e.addSecret(x, o, request.Secret{ID: id}, o.args[1].str())
	return nil
}

// isOptional reports whether a secret or an agent may be missing.
func isOptional(o *option) bool {
	return slices.ContainsFunc(o.with, func(opt *option) bool { return opt.name == "optional" })
}

// mountSecret mounts a secret, whether or not there is one.
func (e *evaluator) mountSecret(x *execution, o *option, id, target string) {
	own := ownerOf(o.with, 0o400)
	opts := []llb.SecretOption{llb.SecretID(id), llb.SecretFileOpt(own.uid, own.gid, own.mode)}
	if isOptional(o) {
		opts = append(opts, llb.SecretOptional)
	}
	x.opts = append(x.opts, llb.AddSecret(target, opts...))
	x.mounts = append(x.mounts, &mountOption{target: target, secret: true, span: o.span})
}

// addSecret mounts a secret that there is.
func (e *evaluator) addSecret(x *execution, o *option, s request.Secret, target string) {
	e.mountSecret(x, o, s.ID, target)
	x.needs = x.needs.Union(request.Needs{Secrets: []request.Secret{s}})
}

// secretFiles lists the regular files under dir that the patterns select, in order of their paths.
func (e *evaluator) secretFiles(dir string, o *option) ([]string, error) {
	var opt fsutil.FilterOpt
	for _, p := range o.with {
		switch p.name {
		case "includePatterns":
			opt.IncludePatterns = append(opt.IncludePatterns, strs(p.args)...)
		case "excludePatterns":
			opt.ExcludePatterns = append(opt.ExcludePatterns, strs(p.args)...)
		}
	}
	all, err := fsutil.NewFS(dir)
	if err != nil {
		return nil, err
	}
	selected, err := fsutil.NewFilterFS(all, &opt)
	if err != nil {
		return nil, err
	}
	var files []string
	err = selected.Walk(e.ctx, "", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, name)
		}
		return err
	})
	slices.Sort(files)
	return files, err
}

// sshOption forwards an ssh agent.
func (e *evaluator) sshOption(x *execution, o *option) error {
	var target string
	var paths []arg
	for _, opt := range o.with {
		switch opt.name {
		case "target":
			target = opt.args[0].str()
		case "localPaths":
			paths = append(paths, opt.args...)
		}
	}
	need, err := e.agent(o, paths)
	if err != nil {
		return err
	}
	e.mountSocket(x, o, need.ID, target)
	if !isOptional(o) || e.hasAgent(need) {
		x.needs = x.needs.Union(request.Needs{SSH: []request.SSH{need}})
	}
	return nil
}

// hasAgent reports whether there is an agent to forward.
func (e *evaluator) hasAgent(need request.SSH) bool {
	if e.server() {
		return contains(e.opts.SSH, need.ID)
	}
	if len(need.Paths) == 0 {
		return e.opts.Host.Environ("SSH_AUTH_SOCK") != ""
	}
	return !slices.ContainsFunc(need.Paths, func(p string) bool {
		_, err := os.Stat(p)
		return errors.Is(err, fs.ErrNotExist)
	})
}

func (e *evaluator) agent(o *option, paths []arg) (request.SSH, error) {
	if e.server() {
		id, at := defaultAgent, o.span
		if len(paths) > 0 {
			id, at = paths[0].str(), paths[0].span
		}
		if len(paths) > 1 {
			return request.SSH{},
				diag.Errorf(NotHere, paths[1].span, "localPaths names files of the machine that compiles").
					WithHint("give the name of one agent that the build declares in spec.ssh")
		}
		if !contains(e.opts.SSH, id) && !isOptional(o) {
			return request.SSH{}, e.undeclaredAgent(at, id)
		}
		return request.SSH{ID: id, Declared: true}, nil
	}
	var abs []string
	for _, p := range paths {
		name, err := machinePath(o.dir, p.str())
		if err != nil {
			return request.SSH{}, e.conversion(diag.Conversion, p.span, "%v", err)
		}
		abs = append(abs, name)
	}
	slices.Sort(abs)
	return request.SSH{ID: digest.FromString(strings.Join(abs, "")).String(), Paths: abs}, nil
}

func (e *evaluator) undeclaredAgent(at diag.Span, id string) error {
	d := e.conversion(NotDeclared, at, "the build declares no ssh agent %q", id).WithHint("declare it in spec.ssh")
	return spell.Among(id, e.opts.SSH).Hint(d)
}

// mountSocket mounts a socket into the run.
func (e *evaluator) mountSocket(x *execution, o *option, id, target string) {
	own := ownerOf(o.with, 0o600)
	opts := []llb.SSHOption{llb.SSHID(id), llb.SSHSocketOpt(target, own.uid, own.gid, own.mode)}
	if isOptional(o) {
		opts = append(opts, llb.SSHOptional)
	}
	x.opts = append(x.opts, llb.AddSSHSocket(opts...))
}

// forwardOption forwards a unix socket or a tcp address of this machine.
func (e *evaluator) forwardOption(x *execution, o *option) error {
	src := o.args[0].str()
	if e.server() {
		return diag.Errorf(NotHere, o.span, "forward connects to the machine that compiles, which is not yours here").
			WithHint("let the command connect over the network, or run the service inside the step")
	}
	u, err := url.Parse(src)
	if err != nil {
		return e.conversion(diag.Conversion, o.span, "%q is not a URL: %v", src, err)
	}
	need := request.SSH{Raw: true}
	switch u.Scheme {
	case "unix":
		p := strings.TrimPrefix(src, "unix://")
		name, err := machinePath(o.dir, p)
		if err != nil {
			return e.conversion(diag.Conversion, o.span, "%v", err)
		}
		if st, err := os.Stat(filepath.Dir(name)); err != nil || !st.IsDir() {
			return e.conversion(diag.Conversion, o.span, "the directory of %s does not exist", p)
		}
		need.ID, need.Paths = digest.FromString(name).String(), []string{name}
	case "tcp":
		if u.Host == "" || u.Port() == "" {
			return e.conversion(diag.Conversion, o.span, "%q names no host and port", src)
		}
		need.ID, need.Dial = digest.FromString(src).String(), u.Host
	default:
		return e.conversion(diag.Conversion, o.span, "%q: a unix:// or tcp:// URL is wanted", src)
	}
	e.mountSocket(x, o, need.ID, o.args[1].str())
	x.needs = x.needs.Union(request.Needs{SSH: []request.SSH{need}})
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package lower

import (
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
	st, err := os.Stat(name)
	if err != nil {
		return e.conversion(diag.Conversion, o.span, "secret %s: %v", o.args[0].str(), reason(err))
	}
	target := o.args[1].str()
	if !st.IsDir() {
		e.addSecret(x, o, request.Secret{ID: digest.FromString(name).String(), Path: name}, target)
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

func (e *evaluator) addSecret(x *execution, o *option, s request.Secret, target string) {
	own := ownerOf(o.with, 0o400)
	x.opts = append(x.opts, llb.AddSecret(target, llb.SecretID(s.ID), llb.SecretFileOpt(own.uid, own.gid, own.mode)))
	x.mounts = append(x.mounts, &mountOption{target: target, secret: true, span: o.span})
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
	e.addSocket(x, o, need, target)
	return nil
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
		if !contains(e.opts.SSH, id) {
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

// addSocket mounts a socket into the run.
func (e *evaluator) addSocket(x *execution, o *option, need request.SSH, target string) {
	own := ownerOf(o.with, 0o600)
	x.opts = append(x.opts, llb.AddSSHSocket(llb.SSHID(need.ID), llb.SSHSocketOpt(target, own.uid, own.gid, own.mode)))
	x.needs = x.needs.Union(request.Needs{SSH: []request.SSH{need}})
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
	e.addSocket(x, o, need, o.args[1].str())
	return nil
}

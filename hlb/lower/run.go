// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"net"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// Entitlements that a run may ask for.
const (
	entitlementNetworkHost = "network.host"
	entitlementInsecure    = "security.insecure"
)

// maxMounts is how many mounts one run can have: far more than a daemon can make, few enough to compare each with each.
const maxMounts = 1000

// defaultShell runs one-argument runs.
var defaultShell = []string{"/bin/sh", "-c"}

// ignoreCacheEnv makes a run differ from all others. llb.IgnoreCache would do so too, but it also empties the cache
// mounts of the run.
const ignoreCacheEnv = "HLB_IGNORE_CACHE"

// execution is a run being put together.
type execution struct {
	call    *call
	opts    []llb.RunOption
	inputs  []*filesystem
	needs   request.Needs
	mounts  []*mountOption // in the order written, secrets included
	hasUser bool
	user    string
	shlex   bool
	binds   []boundMount
}

// boundMount is a mount whose output has a name.
type boundMount struct {
	binds []bind
	input *filesystem
	mount *mountOption
}

func (e *evaluator) fsRun(c *call, cur *filesystem) (*filesystem, error) {
	if err := e.vertex(c.span); err != nil {
		return nil, err
	}
	if err := e.charge(cur.envBytes, c.span); err != nil {
		return nil, err
	}
	if err := e.stacked(cur.layers+1, c.span); err != nil {
		return nil, err
	}
	x := &execution{call: c}
	for _, o := range c.opts {
		if err := e.runOption(x, o); err != nil {
			return nil, err
		}
	}
	args, err := e.runArgs(x, cur)
	if err != nil {
		return nil, err
	}
	if len(x.mounts) > maxMounts {
		return nil, diag.Errorf(
			LimitVertices,
			c.span,
			"a run can have %d mounts, but this one has %d",
			maxMounts,
			len(x.mounts),
		)
	}
	if err := e.addMounts(x); err != nil {
		return nil, err
	}
	if cur.user != "" && !x.hasUser {
		x.user = cur.user
		x.opts = append(x.opts, llb.User(cur.user))
	}
	e.setRoots(x)
	opts := []llb.RunOption{llb.Args(args), llb.WithCustomName(commandName(args))}
	for _, l := range e.locations(c.span) {
		opts = append(opts, l)
	}
	exec := cur.state().Run(append(opts, x.opts...)...)
	k := c.key(e)
	next := cur.op(k, exec.Root().Output(), x.inputs...)
	next.image.needs = next.image.needs.Union(x.needs)
	next.image.editConfig(layer("RUN %s", strings.Join(args, " ")))
	for _, b := range x.binds {
		e.bindMount(b, exec, next)
	}
	return next, nil
}

// bindMount gives the output of a mount its name: the content of the mount point after the run, with the image config
// of what was mounted and nothing of its environment.
func (e *evaluator) bindMount(b boundMount, exec llb.ExecState, after *filesystem) {
	m, k := b.mount, e.keys.of("output of", after.k, b.mount.target)
	setEffect(b.binds, "target", func() (value, error) {
		if m.cache != nil {
			return nil, diag.Errorf(diag.BindCacheMount, m.span, "a cache mount has no output to bind").
				WithLabel(m.cache.span, "made a cache mount here")
		}
		if m.tmpfs {
			return nil, diag.Errorf(BadOption, m.span, "a tmpfs has no output to bind")
		}
		img := b.input.image.with(func(i *image) {
			i.out, i.meta = exec.GetMount(m.target).Output(), llb.Scratch()
			i.origin, i.user, i.workdir, i.shell = origin{}, "", "", nil
			i.layers++
			i.platform = after.platform
			i.needs, i.scopes = after.needs, after.scopes
		})
		return &filesystem{image: img, pending: after.pending, k: k}, nil
	})
}

// runArgs returns the command of a run.
func (e *evaluator) runArgs(x *execution, cur *filesystem) ([]string, error) {
	args := strs(x.call.args)
	switch {
	case len(args) == 0:
		return nil, diag.Errorf(diag.ArgCount, x.call.span, "run needs a command")
	case len(args) == 1 && x.shlex:
		split, err := splitWords(args[0])
		if err != nil || len(split) == 0 {
			return nil, e.conversion(diag.Conversion, x.call.span, "%q can't be split into a command", args[0])
		}
		return split, nil
	case len(args) == 1:
		shell := cur.shell
		if len(shell) == 0 {
			shell = defaultShell
		}
		return slices.Concat(shell, args), nil
	}
	return args, nil
}

// runOption applies one option to a run.
func (e *evaluator) runOption(x *execution, o *option) error {
	switch o.name {
	case "readonlyRootfs":
		x.opts = append(x.opts, llb.ReadonlyRootFS())
	case "env":
		x.opts = append(x.opts, llb.AddEnv(o.args[0].str(), o.args[1].str()))
	case "dir":
		x.opts = append(x.opts, llb.Dir(o.args[0].str()))
	case "user":
		x.hasUser, x.user = true, o.args[0].str()
		x.opts = append(x.opts, llb.User(o.args[0].str()))
	case "ignoreCache":
		x.opts = append(x.opts, llb.AddEnv(ignoreCacheEnv, o.args[0].str()))
	case "shlex":
		x.shlex = true
	case "network":
		return e.networkOption(x, o)
	case "security":
		return e.securityOption(x, o)
	case "host":
		ip := net.ParseIP(o.args[1].str())
		if ip == nil {
			return e.conversion(diag.Conversion, o.span, "%q is not an IP address", o.args[1].str())
		}
		x.opts = append(x.opts, llb.AddExtraHost(o.args[0].str(), ip))
	case "ssh":
		return e.sshOption(x, o)
	case "forward":
		return e.forwardOption(x, o)
	case "secret":
		return e.secretOption(x, o)
	case "mount":
		return e.mountOption(x, o)
	case "cacheMount":
		return e.cacheMountOption(x, o)
	default:
		return diag.Errorf(diag.Internal, o.span, "%s has no evaluation", o.name)
	}
	return nil
}

func (e *evaluator) networkOption(x *execution, o *option) error {
	modes := map[string]pb.NetMode{"unset": pb.NetMode_UNSET, "host": pb.NetMode_HOST, "none": pb.NetMode_NONE}
	mode, ok := modes[o.args[0].str()]
	if !ok {
		return e.badMode(diag.BadNetworkMode, "network mode", o.args[0], []string{"unset", "host", "none"})
	}
	x.opts = append(x.opts, llb.Network(mode))
	if mode == pb.NetMode_HOST {
		return e.entitle(x, o, entitlementNetworkHost)
	}
	return nil
}

func (e *evaluator) securityOption(x *execution, o *option) error {
	modes := map[string]pb.SecurityMode{"sandbox": pb.SecurityMode_SANDBOX, "insecure": pb.SecurityMode_INSECURE}
	mode, ok := modes[o.args[0].str()]
	if !ok {
		return e.badMode(diag.BadSecurityMode, "security mode", o.args[0], []string{"sandbox", "insecure"})
	}
	x.opts = append(x.opts, llb.Security(mode))
	if mode == pb.SecurityMode_INSECURE {
		return e.entitle(x, o, entitlementInsecure)
	}
	return nil
}

// entitle notes that the run needs an entitlement, if programs may have it here.
func (e *evaluator) entitle(x *execution, o *option, entitlement string) error {
	if e.server() && !contains(e.opts.AllowedEntitlements, entitlement) {
		return diag.Errorf(NotDeclared, o.span, "%s %q needs the entitlement %s, which is not granted here",
			o.name, o.args[0].str(), entitlement).
			WithHint("the owner of the build cache can grant it in spec.buildkit.entitlements")
	}
	x.needs = x.needs.Union(request.Needs{Entitlements: []string{entitlement}})
	return nil
}

// badMode reports a word that is not one of a few, with the nearest of them.
func (e *evaluator) badMode(code diag.Code, what string, a arg, allowed []string) error {
	d := e.conversion(code, a.span, "%q is not a %s: it must be one of %s", a.str(), what, strings.Join(allowed, ", "))
	return spell.Among(a.str(), allowed).Hint(d)
}

// commandName is how a run is shown: a command line that a shell would read the same way, on one line.
func commandName(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = quote(a)
	}
	return strings.ReplaceAll(strings.Join(quoted, " "), "\n", `\n`)
}

func quote(s string) string {
	plain := s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') &&
			!strings.ContainsRune("_-./:=@%+,", r)
	}) < 0
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }

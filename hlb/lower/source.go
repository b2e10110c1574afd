// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"net/url"
	"os"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/util/gitutil"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"encoding/json"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

func (e *evaluator) fsScratch(c *call, cur *filesystem) (*filesystem, error) {
	if len(cur.pending) == 0 {
		return e.scratch, nil
	}
	return e.replace(cur, e.scratch), nil
}

// normalize completes an image reference: alpine is docker.io/library/alpine:latest.
func (e *evaluator) normalize(a arg) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(a.str())
	if err != nil {
		return nil, e.conversion(diag.BadImageRef, a.span, "%q is not an image reference: %v", a.str(), err)
	}
	return reference.TagNameOnly(named), nil
}

// resolved is what a registry says about an image.
type resolved struct {
	config    []byte
	canonical string // name@digest
}

func (e *evaluator) fsImage(c *call, cur *filesystem) (*filesystem, error) {
	named, err := e.normalize(c.args[0])
	if err != nil {
		return nil, err
	}
	if err := e.allow(UseImage, named.String(), c.args[0].span); err != nil {
		return nil, err
	}
	platform := e.platform
	for _, o := range c.opts {
		if o.name == "platform" {
			platform = ocispecs.Platform{OS: o.args[0].str(), Architecture: o.args[1].str()}
		}
	}
	if err := e.vertex(c.span); err != nil {
		return nil, err
	}
	opts := []llb.ImageOption{llb.Platform(platform)}
	for _, l := range e.locations(c.span) {
		opts = append(opts, l)
	}
	st := llb.Image(named.String(), opts...)
	res, err := e.resolveImage(named, platform, c.args[0].span)
	if err != nil {
		return nil, err
	}
	var img dockerspec.DockerOCIImage
	if len(res.config) > 0 {
		if err := json.Unmarshal(res.config, &img); err != nil {
			return nil, e.conversion(Lookup, c.args[0].span, "the config of %s does not parse: %v", named, err)
		}
		if st, err = st.WithImageConfig(res.config); err != nil {
			return nil, e.conversion(Lookup, c.args[0].span, "the config of %s does not parse: %v", named, err)
		}
	}
	k := e.keys.of("image", named.String(), platform.OS, platform.Architecture, platform.Variant, e.lazyImages > 0)
	return e.source(cur, k, st, func(i *image) {
		i.platform, i.canonical = platform, res.canonical
		i.workdir, i.user, i.layers = img.Config.WorkingDir, img.Config.User, len(img.RootFS.DiffIDs)
		i.origin = origin{imageRef: named.String()}
		if len(res.config) > 0 {
			i.editConfig(func(to *draft) {
				to.DockerOCIImage = dockerspec.DockerOCIImage{}
				_ = json.Unmarshal(res.config, &to.DockerOCIImage) // parsed above
			})
		}
	}), nil
}

// resolveImage looks up an image's config, once per reference and platform. Without a resolver images have no config.
func (e *evaluator) resolveImage(named reference.Named, p ocispecs.Platform, at diag.Span) (resolved, error) {
	if e.opts.Resolver == nil || e.lazyImages > 0 {
		return resolved{}, nil
	}
	id := named.String() + " " + p.OS + "/" + p.Architecture + "/" + p.Variant
	if r, ok := e.images[id]; ok {
		return r, nil
	}
	_, dgst, config, err := e.opts.Resolver.ResolveImageConfig(e.ctx, named.String(), sourceresolver.Opt{
		LogName:  "resolve image config for " + named.String(),
		ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &p, ResolveMode: llb.ResolveModeForcePull.String()},
	})
	if err != nil {
		return resolved{}, e.failed(at, err, "can't look up %s", named)
	}
	if err := e.chargeText(len(config), at); err != nil {
		return resolved{}, err
	}
	r := resolved{config: config, canonical: canonicalName(named, dgst)}
	e.images[id] = r
	return r, nil
}

func canonicalName(named reference.Named, dgst digest.Digest) string {
	if dgst == "" {
		return ""
	}
	c, err := reference.WithDigest(reference.TrimNamed(named), dgst)
	if err != nil {
		return ""
	}
	return c.String()
}

func (e *evaluator) fsHTTP(c *call, cur *filesystem) (*filesystem, error) {
	if u, err := url.Parse(c.str(0)); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, e.conversion(diag.Conversion, c.span, "%q is not an http or https URL", c.str(0))
	}
	if err := e.allow(UseHTTP, c.str(0), c.args[0].span); err != nil {
		return nil, err
	}
	if err := e.vertex(c.span); err != nil {
		return nil, err
	}
	var opts []llb.HTTPOption
	for _, o := range c.opts {
		switch o.name {
		case "checksum":
			d, err := digest.Parse(o.args[0].str())
			if err != nil {
				return nil, e.conversion(diag.Conversion, o.span, "%q is not a digest: %v", o.args[0].str(), err)
			}
			opts = append(opts, llb.Checksum(d))
		case "chmod":
			opts = append(opts, llb.Chmod(os.FileMode(o.args[0].int()&0o777)))
		case "filename":
			opts = append(opts, llb.Filename(o.args[0].str()))
		}
	}
	for _, l := range e.locations(c.span) {
		opts = append(opts, l)
	}
	return e.source(cur, c.key(e), llb.HTTP(c.str(0), opts...), func(*image) {}), nil
}

func (e *evaluator) fsGit(c *call, cur *filesystem) (*filesystem, error) {
	if err := e.vertex(c.span); err != nil {
		return nil, err
	}
	var opts []llb.GitOption
	for _, o := range c.opts {
		if o.name == "keepGitDir" {
			opts = append(opts, llb.KeepGitDir())
		}
	}
	st, needs, err := e.gitState(c.str(0), c.str(1), c.args[0].span, opts)
	if err != nil {
		return nil, err
	}
	return e.source(cur, c.key(e), st, func(i *image) { i.needs = needs }), nil
}

// gitState makes a git source that does not dial anybody from here.
func (e *evaluator) gitState(remote, ref string, at diag.Span, opts []llb.GitOption) (llb.State, request.Needs, error) {
	var needs request.Needs
	if err := e.allow(UseGit, remote, at); err != nil {
		return llb.State{}, needs, err
	}
	u, err := gitutil.ParseURL(remote)
	if err == nil && u.Scheme == gitutil.SSHProtocol {
		hosts := e.opts.KnownSSHHosts
		switch {
		case e.opts.Profile == ProfileServer && hosts == "":
			return llb.State{}, needs,
				e.conversion(NotHere, at, "%s is fetched over ssh, and the build declares no known hosts", remote).
					WithHint("use an https remote")
		case e.opts.Profile == ProfileServer && !contains(e.opts.SSH, defaultAgent):
			return llb.State{}, needs, e.undeclaredAgent(at, defaultAgent)
		case hosts == "":
			hosts = e.knownHosts()
		}
		if hosts != "" {
			opts = append(opts, llb.KnownSSHHosts(hosts))
		}
		needs.SSH = []request.SSH{{ID: defaultAgent, Declared: e.opts.Profile == ProfileServer}}
	}
	for _, l := range e.locations(at) {
		opts = append(opts, l)
	}
	return llb.Git(remote, ref, opts...), needs, nil
}

// knownHosts returns the known hosts of this machine's user, empty if there are none.
func (e *evaluator) knownHosts() string {
	home, err := e.opts.Host.Home()
	if err != nil {
		return ""
	}
	dt, err := os.ReadFile(home + "/.ssh/known_hosts")
	if err != nil {
		return ""
	}
	return string(dt)
}

func (e *evaluator) needsDaemon(c *call, what string) error {
	return diag.Errorf(NeedsDaemon, c.span, "%s needs a daemon while compiling", what).
		WithHint("compile with a daemon at hand, not offline")
}

// refuse reports a builtin that would touch the compiling machine.
func (e *evaluator) refuse(c *call, instead string) error {
	return diag.Errorf(NotHere, c.span, "%s reaches the machine that compiles, which is not yours here", c.name).
		WithHint("%s", instead)
}

func (e *evaluator) server() bool { return e.opts.Profile == ProfileServer }

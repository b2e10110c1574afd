// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"encoding/json"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/request"
)

// imageConfigKey is the result metadata in which front ends return the image config (exptypes.ExporterImageConfigKey).
const imageConfigKey = "containerimage.config"

// built is what a front end made.
type built struct {
	state  llb.State
	config []byte
	needs  request.Needs
	scopes []*scope
}

// fsFrontend runs a front end image in the daemon, now, because what it returns is needed to go on.
func (e *evaluator) fsFrontend(c *call, cur *filesystem) (*filesystem, error) {
	named, err := e.normalize(c.args[0])
	if err != nil {
		return nil, err
	}
	if err := e.vertex(c.span); err != nil {
		return nil, err
	}
	if err := e.allow(UseFrontend, named.String(), c.args[0].span); err != nil {
		return nil, err
	}
	k := c.key(e)
	b, ok := e.frontends[k]
	if !ok {
		if b, err = e.runFrontend(c, named.String()); err != nil {
			return nil, err
		}
		e.frontends[k] = b
	}
	var img dockerspec.DockerOCIImage
	st := b.state
	if len(b.config) > 0 {
		err := json.Unmarshal(b.config, &img)
		if err == nil {
			st, err = st.WithImageConfig(b.config)
		}
		if err != nil {
			return nil, e.conversion(Lookup, c.span, "%s returned an image config that does not parse: %v", named, err)
		}
	}
	return e.source(cur, k, st, func(i *image) {
		i.needs, i.scopes = b.needs, b.scopes
		i.workdir, i.user = img.Config.WorkingDir, img.Config.User
		if len(b.config) > 0 {
			i.editConfig(func(to *draft) {
				to.DockerOCIImage = dockerspec.DockerOCIImage{}
				_ = json.Unmarshal(b.config, &to.DockerOCIImage) // parsed above
			})
		}
	}), nil
}

func (e *evaluator) runFrontend(c *call, ref string) (built, error) {
	b := built{state: llb.Scratch()}
	req := gateway.SolveRequest{
		Frontend:       "gateway.v0",
		FrontendOpt:    map[string]string{},
		FrontendInputs: map[string]*pb.Definition{},
	}
	for _, o := range c.opts {
		switch o.name {
		case "opt":
			if k := o.args[0].str(); k == "source" && e.server() {
				return b, e.conversion(BadOption, o.span, "the option source is the front end's own image")
			}
			req.FrontendOpt[o.args[0].str()] = o.args[1].str()
		case "input":
			in := o.args[1].fs()
			s, err := e.solveOf(in.image, o.span)
			if err != nil {
				return b, err
			}
			req.FrontendInputs[o.args[0].str()] = s.Definition.ToPB()
			b.needs, b.scopes = b.needs.Union(in.needs), joinUnique(b.scopes, in.scopes)
		}
	}
	if _, set := req.FrontendOpt["source"]; !set {
		req.FrontendOpt["source"] = ref
	}
	res, err := e.solveResult(c.span, b.needs, req)
	if err != nil {
		return b, err
	}
	b.config = res.Metadata[imageConfigKey]
	if err := e.chargeText(len(b.config), c.span); err != nil {
		return b, err
	}
	made, err := res.SingleRef()
	if err == nil && made != nil {
		b.state, err = made.ToState()
	}
	if err != nil {
		return b, e.failed(c.span, err, "%s", ref)
	}
	return b, nil
}

// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// export is a side effect that a filesystem must have had for it to count as built.
type export struct {
	image *image
	out   request.Output
	node  *request.Node // made when the tree is
	k     key
}

// BuildKit's exporters.
const (
	exporterImage  = "image"
	exporterDocker = "docker"
	exporterLocal  = "local"
	exporterTar    = "tar"
	exporterOCI    = "oci"
)

// addExport hangs an export on the current filesystem, which the block goes on with. Equal exports are one.
func (e *evaluator) addExport(c *call, cur *filesystem, out request.Output) (*filesystem, *export, error) {
	if err := e.vertex(c.span); err != nil {
		return nil, nil, err
	}
	k := c.key(e)
	x := e.exports[k]
	if x == nil {
		out.Span = c.span
		x = &export{image: cur.image, out: out, k: k}
		e.exports[k] = x
	}
	e.note([]*export{x})
	return &filesystem{
		image:   cur.image,
		pending: joinUnique(cur.pending, []*export{x}),
		k:       e.keys.of("exported", cur.k, x.k),
	}, x, nil
}

func (e *evaluator) fsDockerPush(c *call, cur *filesystem) (*filesystem, error) {
	if _, err := e.normalize(c.args[0]); err != nil {
		return nil, err
	}
	if err := e.allow(UsePush, c.str(0), c.args[0].span); err != nil {
		return nil, err
	}
	// The name stays as written: the daemon completes it in the same way, and messages have it in the program's words.
	out := request.Output{
		Type:  exporterImage,
		Ref:   c.str(0),
		Attrs: map[string]string{"name": c.str(0), "push": "true"},
	}
	for _, o := range c.opts {
		switch o.name {
		case "inlineCache":
			out.InlineCache = true
		case "stargz":
			if err := e.standalone(o.span, "stargz"); err != nil {
				return nil, err
			}
			out.Attrs["compression"], out.Attrs["oci-mediatypes"] = "estargz", "true"
			if e.mustConvert(cur.image) {
				out.Attrs["force-compression"] = "true"
			}
		}
	}
	next, x, err := e.addExport(c, cur, out)
	if err != nil {
		return nil, err
	}
	setEffect(c.binds, "digest", func() (value, error) {
		d, err := e.push(c, x)
		return e.text(d.String()), err
	})
	return next, nil
}

// push performs a push now, because the program uses its digest. The request then has it as done.
func (e *evaluator) push(c *call, x *export) (digest.Digest, error) {
	if x.out.Digest != "" {
		return x.out.Digest, nil
	}
	if e.opts.Pusher == nil {
		return "", e.needsDaemon(c, "the digest of a dockerPush")
	}
	node, err := e.exportNode(x)
	if err != nil {
		return "", err
	}
	e.noteMounts(e.opts.Pusher)
	resume := e.wall.stop()
	d, err := e.opts.Pusher.Push(e.ctx, node)
	resume()
	if err != nil {
		return "", e.failed(c.span, err, "can't push %s", x.out.Ref)
	}
	x.out.Digest, node.Output.Digest = d, d
	return d, nil
}

// standalone reports what the BuildKit inside of Docker Engine can't do, if that is the daemon.
func (e *evaluator) standalone(at diag.Span, what string) error {
	if !e.opts.DockerEngine {
		return nil
	}
	return e.conversion(diag.EngineUnsupported, at, "the BuildKit inside of Docker Engine can't do this: %s", what).
		WithHint("use a BuildKit daemon of its own")
}

// mustConvert reports whether the layers of the base image must be recompressed for eStargz: unless all of them are
// known to be so already. An image without base has only new layers.
func (e *evaluator) mustConvert(img *image) bool {
	if img.canonical == "" {
		return false
	}
	if e.opts.Registry == nil {
		return true
	}
	m, err := e.opts.Registry.Manifest(e.ctx, img.canonical, img.platform)
	if err != nil {
		return true // converting is slower, never wrong
	}
	var manifest ocispecs.Manifest
	if err := json.Unmarshal([]byte(m.Manifest), &manifest); err != nil {
		return true
	}
	for _, l := range manifest.Layers {
		if l.Annotations["containerd.io/snapshot/stargz/toc.digest"] == "" {
			return true
		}
	}
	return false
}

func (e *evaluator) fsDockerLoad(c *call, cur *filesystem) (*filesystem, error) {
	if e.server() {
		return nil, e.refuse(c, "push the image to a registry with dockerPush")
	}
	if _, err := e.normalize(c.args[0]); err != nil {
		return nil, err
	}
	next, _, err := e.addExport(c, cur, request.Output{Type: exporterDocker, Ref: c.str(0), Load: true,
		Attrs: map[string]string{"name": c.str(0)}})
	return next, err
}

func (e *evaluator) fsDownload(c *call, cur *filesystem) (*filesystem, error) {
	return e.download(c, cur, request.Output{Type: exporterLocal})
}

func (e *evaluator) fsDownloadTarball(c *call, cur *filesystem) (*filesystem, error) {
	return e.download(c, cur, request.Output{Type: exporterTar})
}

func (e *evaluator) fsDownloadOCITarball(c *call, cur *filesystem) (*filesystem, error) {
	if err := e.standalone(c.span, c.name); err != nil {
		return nil, err
	}
	return e.download(c, cur, request.Output{Type: exporterOCI})
}

func (e *evaluator) fsDownloadDockerTarball(c *call, cur *filesystem) (*filesystem, error) {
	if _, err := e.normalize(c.args[1]); err != nil {
		return nil, err
	}
	if err := e.standalone(c.span, c.name); err != nil {
		return nil, err
	}
	return e.download(
		c,
		cur,
		request.Output{Type: exporterDocker, Ref: c.str(1), Attrs: map[string]string{"name": c.str(1)}},
	)
}

// download exports to a file or directory of this machine.
func (e *evaluator) download(c *call, cur *filesystem, out request.Output) (*filesystem, error) {
	if e.server() {
		return nil, e.refuse(c, "push the filesystem to a registry with dockerPush, or as an output of the build")
	}
	name, err := machinePath(c.dir, c.str(0))
	if err != nil {
		return nil, e.conversion(diag.Conversion, c.span, "%v", err)
	}
	out.Path = name
	next, _, err := e.addExport(c, cur, out)
	return next, err
}

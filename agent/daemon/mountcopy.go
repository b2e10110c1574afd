// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/mountcopy"
)

// MountCopy is a copy of a cache mount into an image or back.
type MountCopy struct {
	// ID of the mount as BuildKit knows it. It must be one without a base state.
	ID string
	// Sharing that builds use the mount with: shared, private or locked. With another mode, BuildKit would give the copy or a build that begins
	// meanwhile a second, empty mount of the same id.
	Sharing string
	// Ref is the image: written by Snapshot, read by Prime.
	Ref string
	// Repository and DockerConfig are the credentials of the registry cache, nil for none.
	Repository   string
	DockerConfig []byte
	// Program is cmd/mountcopy, for the machine's architecture.
	Program []byte

	// Base is the image that the snapshot is an increment of, by digest; empty for a whole one.
	Base string
	// MaxBytes bounds the mount's content, 0 for no bound.
	MaxBytes int64
	// Annotations of the image's manifest. Snapshot adds DigestAnnotation and BytesAnnotation.
	Annotations map[string]string
	// KnownDigest is the digest of content that is in the registry already and need not be pushed again, even where Base is empty; empty for none.
	KnownDigest string
	// Check is called when the mount is copied, before anything is pushed; its error ends the snapshot. Nil means no check.
	Check func() error

	// Timeout bounds the copying of Prime, 0 for no bound.
	Timeout time.Duration
}

// Annotations of a snapshot's manifest that only the copy itself can tell.
const (
	// DigestAnnotation is the digest of the mount's tree.
	DigestAnnotation = "dev.openllb.build.mount.digest"
	// BytesAnnotation is what the mount's files hold, in bytes.
	BytesAnnotation = "dev.openllb.build.mount.bytes"
)

// errNoImage ends a job that has nothing to export.
var errNoImage = errors.New("there is nothing to push")

// Where things are in the step that copies.
const (
	atMount, atImage, atResult = "/mount", "/image", "/result"
	programPath                = "/mountcopy"
)

// Snapshot copies a mount into an image and pushes it. With an outcome other than Copied nothing was pushed. The digest is that of the manifest.
func (d *Daemon) Snapshot(ctx context.Context, c *MountCopy) (res mountcopy.Result, digest string, err error) {
	base := llb.Scratch()
	if c.Base != "" {
		base = llb.Image(c.Base, llb.WithCustomName("[snapshot] "+c.Base))
	}
	step := c.step("[snapshot] "+c.ID, []string{"-max-bytes", fmt.Sprint(c.MaxBytes), "snapshot", atMount, atImage},
		c.mount(llb.Readonly))
	image, result := step.AddMount(atImage, base), step.AddMount(atResult, llb.Scratch())
	var refused error
	done, err := d.copyMount(ctx, c, []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{
		"name": c.Ref, "push": "true", "store": "false", "compression": "zstd", "compression-level": "1", "oci-mediatypes": "true",
	}}}, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		if res, err = readResult(ctx, gw, result); err != nil {
			return nil, err
		}
		if res.Outcome == mountcopy.Copied && res.Digest == c.KnownDigest {
			res.Outcome = mountcopy.Unchanged
		}
		if c.Check != nil {
			if refused = c.Check(); refused != nil {
				return nil, refused
			}
		}
		if res.Outcome != mountcopy.Copied {
			return nil, errNoImage
		}
		return c.image(ctx, gw, image, res)
	})
	if refused != nil {
		return res, "", refused // the job's own error is only its text
	}
	if err != nil && res.Outcome != "" && res.Outcome != mountcopy.Copied {
		return res, "", nil // the job ended with errNoImage
	}
	if err != nil {
		return res, "", err
	}
	return res, done.ExporterResponse[exptypes.ExporterImageDigestKey], nil
}

// Prime fills a mount from a snapshot, unless the mount holds something.
func (d *Daemon) Prime(ctx context.Context, c *MountCopy) (res mountcopy.Result, err error) {
	step := c.step("[prime] "+c.ID, []string{"-timeout", c.Timeout.String(), "prime", atImage, atMount}, c.mount(),
		llb.AddMount(atImage, llb.Image(c.Ref, llb.WithCustomName("[prime] "+c.Ref)), llb.Readonly))
	result := step.AddMount(atResult, llb.Scratch())
	_, err = d.copyMount(ctx, c, nil, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		if res, err = readResult(ctx, gw, result); err != nil {
			return nil, err
		}
		return gateway.NewResult(), nil
	})
	return res, err
}

// DigestMount names the tree that a mount holds.
func (d *Daemon) DigestMount(ctx context.Context, c *MountCopy) (res mountcopy.Result, err error) {
	step := c.step("[digest] "+c.ID, []string{"digest", atMount}, c.mount(llb.Readonly))
	result := step.AddMount(atResult, llb.Scratch())
	_, err = d.copyMount(ctx, c, nil, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		if res, err = readResult(ctx, gw, result); err != nil {
			return nil, err
		}
		return gateway.NewResult(), nil
	})
	return res, err
}

// step runs the program, and nothing else, on a filesystem that holds nothing else. The salt makes it run every time: to ignore the cache instead
// would wipe the mount.
func (c *MountCopy) step(name string, args []string, mounts ...llb.RunOption) llb.ExecState {
	root := llb.Scratch().File(llb.Mkfile(programPath, 0o755, c.Program, llb.WithCreatedTime(time.Unix(0, 0).UTC())),
		llb.WithCustomName("[copier] put the program in place"))
	argv := append([]string{programPath, "-result", atResult + "/result.json"}, args...)
	return root.Run(append(mounts, llb.Args(argv), llb.AddEnv("SALT", rand.Text()), llb.ReadonlyRootFS(), llb.Network(llb.NetModeNone),
		llb.WithCustomName(name))...)
}

func (c *MountCopy) mount(opts ...llb.MountOption) llb.RunOption {
	mode := map[string]llb.CacheMountSharingMode{"private": llb.CacheMountPrivate, "locked": llb.CacheMountLocked}[c.Sharing] // else shared
	return llb.AddMount(atMount, llb.Scratch(), append(opts, llb.AsPersistentCacheDir(c.ID, mode))...)
}

// copyMount runs a job with the registry cache's credentials.
func (d *Daemon) copyMount(ctx context.Context, c *MountCopy, exports []client.ExportEntry, build gateway.BuildFunc) (*client.SolveResponse, error) {
	creds, err := newCredentials(&inputs.Inputs{CacheRegistry: c.DockerConfig}, c.Repository)
	if err != nil {
		return nil, err
	}
	auth := authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: creds.lookUp})
	return d.client.Build(ctx, client.SolveOpt{Session: []session.Attachable{auth}, Exports: exports, Internal: true}, "", build, nil)
}

// readResult runs the step whose output state is, and reads what the program says.
func readResult(ctx context.Context, gw gateway.Client, state llb.State) (res mountcopy.Result, err error) {
	ref, err := solveState(ctx, gw, state)
	if err != nil {
		return res, err
	}
	text, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: "result.json"})
	if err != nil {
		return res, err
	}
	return res, json.Unmarshal(text, &res)
}

func solveState(ctx context.Context, gw gateway.Client, state llb.State) (gateway.Reference, error) {
	def, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	solved, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return nil, err
	}
	return solved.SingleRef()
}

// image is the job's result: the image with its configuration and annotations.
func (c *MountCopy) image(ctx context.Context, gw gateway.Client, state llb.State, did mountcopy.Result) (*gateway.Result, error) {
	ref, err := solveState(ctx, gw, state)
	if err != nil {
		return nil, err
	}
	out := gateway.NewResult()
	out.SetRef(ref)
	notes := map[string]string{DigestAnnotation: did.Digest, BytesAnnotation: fmt.Sprint(did.Bytes)}
	maps.Copy(notes, c.Annotations)
	config, err := json.Marshal(ocispecs.Image{
		Platform: ocispecs.Platform{OS: "linux", Architecture: runtime.GOARCH}, Config: ocispecs.ImageConfig{Labels: notes},
	})
	if err != nil {
		return nil, err
	}
	out.AddMeta(exptypes.ExporterImageConfigKey, config)
	for name, value := range notes {
		out.AddMeta(exptypes.AnnotationManifestKey(nil, name), []byte(value))
	}
	return out, nil
}

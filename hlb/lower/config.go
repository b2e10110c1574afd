// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// historyComment marks the history entries that this compiler made.
const historyComment = "hlb"

// configEdit is one change to an image config, after those before it. A list of edits is cheap to extend from any
// point, which copies of the config would not be.
type configEdit struct {
	prev  *configEdit
	apply func(*draft)
}

// draft is an image config that edits are applied to.
type draft struct {
	dockerspec.DockerOCIImage
	// labels are the labels of the history entry that is being written, empty for none.
	labels []string
}

func (i *image) editConfig(apply func(*draft)) {
	i.config = &configEdit{prev: i.config, apply: apply}
}

// configJSON applies all edits and returns the config, with operating system and architecture from the platform where
// it has none. The error is the context's, or that of encoding.
func (i *image) configJSON(ctx context.Context) ([]byte, error) {
	var edits []*configEdit
	for e := i.config; e != nil; e = e.prev {
		edits = append(edits, e)
	}
	var img draft
	for n, e := range slices.Backward(edits) {
		if n%256 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		e.apply(&img)
	}
	img.endLabels()
	if img.OS == "" || img.Architecture == "" {
		img.OS, img.Architecture, img.Variant = i.platform.OS, i.platform.Architecture, i.platform.Variant
	}
	if img.RootFS.Type == "" {
		img.RootFS.Type = "layers"
	}
	return json.Marshal(img.DockerOCIImage)
}

// history adds an entry; empty says that the step makes no layer.
func (d *draft) history(empty bool, format string, args ...any) {
	d.endLabels()
	d.History = append(d.History, ocispecs.History{
		CreatedBy: fmt.Sprintf(format, args...), Comment: historyComment, EmptyLayer: empty,
	})
}

const labelHistory = "LABEL "

// label adds a label to the history. Labels one after another share an entry, which goes on where a base image's last
// entry is of labels.
func (d *draft) label(text string) {
	if n := len(d.History); len(d.labels) == 0 && n > 0 && d.History[n-1].Comment == historyComment {
		if earlier, ok := strings.CutPrefix(d.History[n-1].CreatedBy, labelHistory); ok {
			d.History, d.labels = d.History[:n-1], append(d.labels, earlier)
		}
	}
	d.labels = append(d.labels, text)
}

// endLabels writes the history entry of the labels.
func (d *draft) endLabels() {
	if len(d.labels) == 0 {
		return
	}
	text := strings.Join(d.labels, " ")
	d.labels = nil
	d.history(true, "%s%s", labelHistory, text)
}

// layer returns an edit that adds the history entry of a step that makes a layer.
func layer(format string, args ...any) func(*draft) {
	return func(img *draft) { img.history(false, format, args...) }
}

func (e *evaluator) fsEnv(c *call, cur *filesystem) (*filesystem, error) {
	k, v := c.str(0), c.str(1)
	return cur.edit(c.key(e), func(i *image) {
		i.meta = i.meta.AddEnv(k, v)
		i.envBytes += len(k) + len(v) + opBytes
		i.editConfig(func(img *draft) {
			img.Config.Env = withEnv(img.Config.Env, k, v)
		})
	}), nil
}

// withEnv sets a variable where it stands, or last if it is new.
func withEnv(env []string, k, v string) []string {
	i := slices.IndexFunc(env, func(kv string) bool { return strings.HasPrefix(kv, k+"=") })
	if i < 0 {
		return append(env, k+"="+v)
	}
	env[i] = k + "=" + v
	return env
}

func (e *evaluator) fsDir(c *call, cur *filesystem) (*filesystem, error) {
	dir := path.Join("/", cur.workdir, c.str(0))
	if path.IsAbs(c.str(0)) {
		dir = path.Clean(c.str(0))
	}
	return cur.edit(c.key(e), func(i *image) {
		i.meta, i.workdir = i.meta.Dir(dir), dir
		i.editConfig(func(img *draft) {
			img.Config.WorkingDir = dir
			img.history(true, "WORKDIR %s", dir)
		})
	}), nil
}

func (e *evaluator) fsUser(c *call, cur *filesystem) (*filesystem, error) {
	user := c.str(0)
	return cur.edit(c.key(e), func(i *image) {
		i.meta, i.user = i.meta.User(user), user
		i.editConfig(func(img *draft) {
			img.Config.User = user
			img.history(true, "USER %s", user)
		})
	}), nil
}

func (e *evaluator) fsShell(c *call, cur *filesystem) (*filesystem, error) {
	return cur.edit(c.key(e), func(i *image) { i.shell = strs(c.args) }), nil
}

func (e *evaluator) fsEntrypoint(c *call, cur *filesystem) (*filesystem, error) {
	args := strs(c.args)
	return e.configOnly(c, cur, func(img *draft) {
		img.Config.Entrypoint = args
		img.history(true, "ENTRYPOINT %q", args)
	})
}

func (e *evaluator) fsCmd(c *call, cur *filesystem) (*filesystem, error) {
	args := strs(c.args)
	return e.configOnly(c, cur, func(img *draft) { img.Config.Cmd = args })
}

func (e *evaluator) fsLabel(c *call, cur *filesystem) (*filesystem, error) {
	k, v := c.str(0), c.str(1)
	return e.configOnly(c, cur, func(img *draft) {
		img.Config.Labels = withKey(img.Config.Labels, k, v)
		img.label(k + "=" + v)
	})
}

func (e *evaluator) fsExpose(c *call, cur *filesystem) (*filesystem, error) {
	ports := strs(c.args)
	return e.configOnly(c, cur, func(img *draft) {
		for _, p := range ports {
			if !strings.Contains(p, "/") {
				p += "/tcp"
			}
			img.Config.ExposedPorts = withKey(img.Config.ExposedPorts, p, struct{}{})
		}
	})
}

func (e *evaluator) fsVolumes(c *call, cur *filesystem) (*filesystem, error) {
	mountpoints := strs(c.args)
	return e.configOnly(c, cur, func(img *draft) {
		for _, m := range mountpoints {
			img.Config.Volumes = withKey(img.Config.Volumes, m, struct{}{})
		}
	})
}

func (e *evaluator) fsStopSignal(c *call, cur *filesystem) (*filesystem, error) {
	signal := c.str(0)
	return e.configOnly(c, cur, func(img *draft) { img.Config.StopSignal = signal })
}

func (e *evaluator) configOnly(c *call, cur *filesystem, apply func(*draft)) (*filesystem, error) {
	return cur.edit(c.key(e), func(i *image) { i.editConfig(apply) }), nil
}

func withKey[V any](m map[string]V, k string, v V) map[string]V {
	if m == nil {
		m = map[string]V{}
	}
	m[k] = v
	return m
}

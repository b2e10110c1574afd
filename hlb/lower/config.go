// SPDX-License-Identifier: Apache-2.0

package lower

import (
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
	apply func(*dockerspec.DockerOCIImage)
}

func (i *image) editConfig(apply func(*dockerspec.DockerOCIImage)) {
	i.config = &configEdit{prev: i.config, apply: apply}
}

// configJSON applies all edits and returns the config, with operating system and architecture from the platform where
// it has none.
func (i *image) configJSON() ([]byte, error) {
	var edits []*configEdit
	for e := i.config; e != nil; e = e.prev {
		edits = append(edits, e)
	}
	var img dockerspec.DockerOCIImage
	for _, e := range slices.Backward(edits) {
		e.apply(&img)
	}
	if img.OS == "" || img.Architecture == "" {
		img.OS, img.Architecture, img.Variant = i.platform.OS, i.platform.Architecture, i.platform.Variant
	}
	if img.RootFS.Type == "" {
		img.RootFS.Type = "layers"
	}
	return json.Marshal(img)
}

// history adds an entry; empty says that the step makes no layer.
func history(img *dockerspec.DockerOCIImage, empty bool, format string, args ...any) {
	img.History = append(img.History, ocispecs.History{
		CreatedBy: fmt.Sprintf(format, args...), Comment: historyComment, EmptyLayer: empty,
	})
}

// layer returns an edit that adds the history entry of a step that makes a layer.
func layer(format string, args ...any) func(*dockerspec.DockerOCIImage) {
	return func(img *dockerspec.DockerOCIImage) { history(img, false, format, args...) }
}

func (e *evaluator) fsEnv(c *call, cur *filesystem) (*filesystem, error) {
	k, v := c.str(0), c.str(1)
	return cur.edit(c.key(e), func(i *image) {
		i.meta = i.meta.AddEnv(k, v)
		i.envBytes += len(k) + len(v) + opBytes
		i.editConfig(func(img *dockerspec.DockerOCIImage) {
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
		i.editConfig(func(img *dockerspec.DockerOCIImage) {
			img.Config.WorkingDir = dir
			history(img, true, "WORKDIR %s", dir)
		})
	}), nil
}

func (e *evaluator) fsUser(c *call, cur *filesystem) (*filesystem, error) {
	user := c.str(0)
	return cur.edit(c.key(e), func(i *image) {
		i.meta, i.user = i.meta.User(user), user
		i.editConfig(func(img *dockerspec.DockerOCIImage) {
			img.Config.User = user
			history(img, true, "USER %s", user)
		})
	}), nil
}

func (e *evaluator) fsShell(c *call, cur *filesystem) (*filesystem, error) {
	return cur.edit(c.key(e), func(i *image) { i.shell = strs(c.args) }), nil
}

func (e *evaluator) fsEntrypoint(c *call, cur *filesystem) (*filesystem, error) {
	args := strs(c.args)
	return e.configOnly(c, cur, func(img *dockerspec.DockerOCIImage) {
		img.Config.Entrypoint = args
		history(img, true, "ENTRYPOINT %q", args)
	})
}

func (e *evaluator) fsCmd(c *call, cur *filesystem) (*filesystem, error) {
	args := strs(c.args)
	return e.configOnly(c, cur, func(img *dockerspec.DockerOCIImage) { img.Config.Cmd = args })
}

func (e *evaluator) fsLabel(c *call, cur *filesystem) (*filesystem, error) {
	k, v := c.str(0), c.str(1)
	return e.configOnly(c, cur, func(img *dockerspec.DockerOCIImage) {
		img.Config.Labels = withKey(img.Config.Labels, k, v)
		if n := len(img.History); n > 0 && img.History[n-1].Comment == historyComment &&
			strings.HasPrefix(img.History[n-1].CreatedBy, "LABEL ") {
			img.History[n-1].CreatedBy += fmt.Sprintf(" %s=%s", k, v)
			return
		}
		history(img, true, "LABEL %s=%s", k, v)
	})
}

func (e *evaluator) fsExpose(c *call, cur *filesystem) (*filesystem, error) {
	ports := strs(c.args)
	return e.configOnly(c, cur, func(img *dockerspec.DockerOCIImage) {
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
	return e.configOnly(c, cur, func(img *dockerspec.DockerOCIImage) {
		for _, m := range mountpoints {
			img.Config.Volumes = withKey(img.Config.Volumes, m, struct{}{})
		}
	})
}

func (e *evaluator) fsStopSignal(c *call, cur *filesystem) (*filesystem, error) {
	signal := c.str(0)
	return e.configOnly(c, cur, func(img *dockerspec.DockerOCIImage) { img.Config.StopSignal = signal })
}

func (e *evaluator) configOnly(c *call, cur *filesystem, apply func(*dockerspec.DockerOCIImage)) (*filesystem, error) {
	return cur.edit(c.key(e), func(i *image) { i.editConfig(apply) }), nil
}

func withKey[V any](m map[string]V, k string, v V) map[string]V {
	if m == nil {
		m = map[string]V{}
	}
	m[k] = v
	return m
}

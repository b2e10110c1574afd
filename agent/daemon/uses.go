// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	srctypes "github.com/moby/buildkit/source/types"

	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/internal/buildpolicy"
)

// maxMountID is the longest id of a cache mount, in bytes: what the API can hold.
const maxMountID = 512

// uses are what definitions use that a policy or a credential is about, whoever wrote them. The zero value has none.
type uses struct {
	mounts  []*pb.Mount // cache mounts
	secrets []string    // ids, also of ssh agents
	sources []source
}

// source is what a source operation fetches, as a policy names it.
type source struct {
	use  buildpolicy.Use
	what string
}

// add adds what the operations of a definition use. The error is about an operation that can't be judged.
func (u *uses) add(ops [][]byte) error {
	for _, data := range ops {
		var op pb.Op
		if err := op.UnmarshalVT(data); err != nil {
			return fmt.Errorf("read an operation: %w", err)
		}
		switch {
		case op.GetExec() != nil:
			u.addExec(op.GetExec())
		case op.GetSource() != nil:
			if err := u.addSource(op.GetSource()); err != nil {
				return err
			}
		case op.GetBuild() != nil:
			return fmt.Errorf("a build whose steps are in a file of another one is not permitted")
		}
	}
	return nil
}

func (u *uses) addExec(e *pb.ExecOp) {
	for _, m := range e.Mounts {
		switch m.MountType {
		case pb.MountType_CACHE:
			u.mounts = append(u.mounts, m)
		case pb.MountType_SECRET:
			u.secrets = append(u.secrets, m.GetSecretOpt().GetID())
		case pb.MountType_SSH:
			u.secrets = append(u.secrets, m.GetSSHOpt().GetID())
		}
	}
	for _, s := range e.Secretenv {
		u.secrets = append(u.secrets, s.ID)
	}
}

// secretAttrs are the attributes of sources that name a secret.
var secretAttrs = []string{
	pb.AttrAuthHeaderSecret, pb.AttrAuthTokenSecret, pb.AttrMountSSHSock, pb.AttrHTTPAuthHeaderSecret,
}

func (u *uses) addSource(s *pb.SourceOp) error {
	scheme, rest, _ := strings.Cut(s.Identifier, "://")
	switch scheme {
	case srctypes.DockerImageScheme, srctypes.DockerImageBlobScheme:
		u.sources = append(u.sources, source{buildpolicy.Image, rest})
	case srctypes.HTTPScheme, srctypes.HTTPSScheme:
		u.sources = append(u.sources, source{buildpolicy.HTTP, s.Identifier})
	case srctypes.GitScheme:
		if s.Attrs[pb.AttrGitBundle] != "" {
			return fmt.Errorf("a git source that lies in a registry is not permitted")
		}
		remote, _, _ := strings.Cut(rest, "#")
		if full := s.Attrs[pb.AttrFullRemoteURL]; full != "" {
			remote = full
		}
		u.sources = append(u.sources, source{buildpolicy.Git, remote})
	}
	for _, name := range secretAttrs {
		if id := s.Attrs[name]; id != "" {
			u.secrets = append(u.secrets, id)
		}
	}
	return nil
}

// addRequest adds what a compiled request uses.
func (u *uses) addRequest(req *request.Request) error {
	seen := map[*request.Solve]bool{}
	var add func(s *request.Solve) error
	add = func(s *request.Solve) error {
		if s == nil || seen[s] {
			return nil
		}
		seen[s] = true
		if err := u.add(s.Definition.Def); err != nil {
			return err
		}
		for _, scope := range s.Scopes {
			if err := add(scope.Section); err != nil {
				return err
			}
			for _, imp := range scope.Imports {
				if err := add(imp.Layout); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err := req.Walk(func(n *request.Node) error { return add(n.Solve) })
	for _, t := range req.Targets {
		if err == nil {
			err = add(t.Final)
		}
	}
	return err
}

// check returns an error unless a build of a namespace may use all of it.
func (u *uses) check(namespace string, policy *buildpolicy.Policy) error {
	for _, m := range u.mounts {
		if err := checkMount(namespace, m); err != nil {
			return err
		}
	}
	for _, s := range u.sources {
		if err := policy.Check(s.use, s.what); err != nil {
			return err
		}
	}
	return nil
}

// checkMount checks that a cache mount is one of a namespace, and that BuildKit's record of it will name it: a record
// whose id is the mount point leaves the id out.
func checkMount(namespace string, m *pb.Mount) error {
	id := m.GetCacheOpt().GetID()
	rest, own := strings.CutPrefix(id, namespace+"/")
	switch {
	case !own || slices.Contains(strings.Split(rest, "/"), ".."):
		return fmt.Errorf("the id of cache mount %q does not begin with %s/", clip(id), namespace)
	case len(id) > maxMountID:
		return fmt.Errorf("the id of cache mount %q has %d bytes, more than %d", clip(id), len(id), maxMountID)
	case strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("the id of cache mount %q has control characters", clip(id))
	case !path.IsAbs(m.Dest):
		return fmt.Errorf("cache mount %q is mounted at %q, which does not begin with a slash", clip(id), clip(m.Dest))
	}
	return nil
}

func clip(s string) string { return s[:min(len(s), 100)] }

// checkGiven returns an error if a front end has used a secret or agent that the build declares and the program has
// not given it.
func (u *uses) checkGiven(declared func(id string) bool, given map[string]bool) error {
	for _, id := range u.secrets {
		if declared(id) && !given[id] {
			return fmt.Errorf("the front end uses the secret %q, which none of its inputs uses", clip(id))
		}
	}
	return nil
}

// sharingNames are the modes of sharing as programs name them.
var sharingNames = map[pb.CacheSharingOpt]string{
	pb.CacheSharingOpt_SHARED: "shared", pb.CacheSharingOpt_PRIVATE: "private", pb.CacheSharingOpt_LOCKED: "locked",
}

// cacheMounts are the cache mounts, each id once, in order. known are those that the compiler knows of, with what the
// program wants of them.
func (u *uses) cacheMounts(known []request.CacheMount) []Mount {
	out := mountsOf(known)
	at := map[string]bool{}
	for _, m := range out {
		at[m.ID] = true
	}
	used := map[string]bool{}
	for _, m := range u.mounts {
		id := m.GetCacheOpt().GetID()
		used[id] = true
		if !at[id] {
			at[id] = true
			out = append(out, Mount{ID: id, Target: m.Dest, Sharing: sharingNames[m.GetCacheOpt().GetSharing()]})
		}
	}
	return slices.DeleteFunc(out, func(m Mount) bool { return !used[m.ID] })
}

// hosts are the registries that the images are read from.
func (u *uses) images() []string {
	found := map[string]bool{}
	for _, s := range u.sources {
		if s.use == buildpolicy.Image {
			found[s.what] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

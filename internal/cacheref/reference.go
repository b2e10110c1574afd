// SPDX-License-Identifier: Apache-2.0

package cacheref

import (
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// DockerHub is the host of the default registry in references.
const DockerHub = "docker.io"

// hubAliases are other hosts of the default registry.
var hubAliases = []string{"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}

// Host is the one name of a registry's host, with its port unless that is the default one: host names have no case, and
// the default registry has several.
func Host(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	if slices.Contains(hubAliases, host) {
		return DockerHub
	}
	return host
}

// HostNames are the names of a registry's host, given the one that Host returns.
func HostNames(host string) []string {
	if host == DockerHub {
		return append([]string{DockerHub}, hubAliases...)
	}
	return []string{host}
}

// Repository is a repository of a registry, equal for all ways to write it.
type Repository struct {
	// Host is as the function Host returns it; Path is library/alpine for alpine.
	Host, Path string
}

func (r Repository) String() string { return r.Host + "/" + r.Path }

// Reference is a parsed reference of an image or of build cache.
type Reference struct {
	Repository
	// Tag is empty for a reference by digest, and latest where none is given.
	Tag string
	// Digest is empty where none is given. Where there is one, it decides what is read.
	Digest string
}

func (r Reference) String() string {
	if r.Digest != "" {
		return r.Repository.String() + "@" + r.Digest
	}
	return r.Repository.String() + ":" + r.Tag
}

// Parse reads a reference as BuildKit does.
func Parse(text string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return Reference{}, fmt.Errorf("%q is not an image reference: %w", text, err)
	}
	out := Reference{Repository: Repository{Host: Host(reference.Domain(named)), Path: reference.Path(named)}}
	if out.Host == DockerHub && !strings.Contains(out.Path, "/") {
		out.Path = "library/" + out.Path
	}
	if digested, is := named.(reference.Digested); is {
		out.Digest = digested.Digest().String()
		return out, nil
	}
	out.Tag = "latest"
	if tagged, is := named.(reference.Tagged); is {
		out.Tag = tagged.Tag()
	}
	return out, nil
}

// Kept are the repositories that the operator keeps what it writes in, for one BuildCache.
type Kept struct {
	repositories map[Repository]bool
	mirrors      map[string][]string // by host
}

// NewKept returns the repositories of those names; empty ones and those that can't be parsed keep nothing. mirrors are
// those of BuildKit's configuration, by host: what is asked of that host is asked of them first.
func NewKept(repositories []string, mirrors map[string][]string) *Kept {
	k := &Kept{repositories: map[Repository]bool{}, mirrors: map[string][]string{}}
	for _, text := range repositories {
		if ref, err := Parse(text); err == nil {
			k.repositories[ref.Repository] = true
		}
	}
	for host, list := range mirrors {
		k.mirrors[Host(host)] = append(k.mirrors[Host(host)], list...)
	}
	return k
}

// Repositories are the repositories, sorted.
func (k *Kept) Repositories() []Repository {
	var out []Repository
	for r := range k.repositories {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Repository) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// Has reports whether a repository is one of them, by its own name or by that of a host that they mirror.
func (k *Kept) Has(r Repository) bool {
	return k.repositories[r] || slices.ContainsFunc(k.mirrors[r.Host], func(mirror string) bool {
		return k.repositories[mirrored(mirror, r.Path)]
	})
}

// Hosts are the hosts that are asked for a reference: its own, and those that mirror it.
func (k *Kept) Hosts(ref Reference) []string {
	out := []string{ref.Host}
	for _, mirror := range k.mirrors[ref.Host] {
		out = append(out, mirrored(mirror, "").Host)
	}
	return out
}

// Aliases are the names under which builds reach one of the repositories: its own, and those of hosts that it mirrors.
func (k *Kept) Aliases(r Repository) []Repository {
	out := []Repository{r}
	for host, mirrors := range k.mirrors {
		for _, mirror := range mirrors {
			at := mirrored(mirror, "")
			if path, below := strings.CutPrefix(r.Path, at.Path); at.Host == r.Host && below {
				out = append(out, Repository{host, path})
			}
		}
	}
	slices.SortFunc(out, func(a, b Repository) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
}

// mirrored is where a mirror, a host with an optional path, has the repository of a path.
func mirrored(mirror, path string) Repository {
	host, below, _ := strings.Cut(mirror, "/")
	if below = strings.Trim(below, "/"); below != "" {
		below += "/"
	}
	return Repository{Host(host), below + path}
}

// CheckImage returns an error where builds may not read, write or run a reference as an image: it is one of the
// operator's tags, of whatever namespace, or a digest in one of its repositories, which may be that of such a tag.
func (k *Kept) CheckImage(text string) error {
	ref, err := Parse(text)
	switch {
	case err != nil:
		return err
	case !k.Has(ref.Repository):
		return nil
	case ref.Digest != "":
		return fmt.Errorf("%s is a digest in the BuildCache's own repository, which builds name by tag only", ref)
	case isKeptTag(ref.Tag):
		return fmt.Errorf("%s is a tag of the operator, which keeps caches and snapshots there", ref)
	}
	return nil
}

// CheckCache is CheckImage for a place of build cache: the build cache of the build's own namespace is permitted.
func (k *Kept) CheckCache(namespace, text string) error {
	ref, err := Parse(text)
	if err != nil {
		return err
	}
	if hash, own := strings.CutPrefix(ref.Tag, tagPrefix+namespace+"-"); k.Has(ref.Repository) && own && isHash(hash) {
		return nil
	}
	return k.CheckImage(text)
}

// isKeptTag reports whether a tag is one that the operator may make, for any namespace.
func isKeptTag(tag string) bool {
	return strings.HasPrefix(tag, tagPrefix) || strings.HasPrefix(tag, mountPrefix)
}

// SPDX-License-Identifier: Apache-2.0

// Package buildkey derives the cache key of an HLBBuild: builds of one key go to the same daemon.
package buildkey

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// defaultProgram is the path of the program in its source where the build names none.
const defaultProgram = "build.hlb"

// Derive is the cache key of a build. It is the spec's own cacheKey where that is given; else it names the source
// without what doesn't matter to caches (credentials, ref, spelling of the URL), the targets and the platform; else,
// for an inline program, the cache mounts it uses, since those are what a daemon can be warm with; else the object's
// own name.
//
// mounts are the ids of cache mounts that static analysis found in an inline program, in any order; nil for other
// sources. The key is at most 512 bytes long.
//
// A build's caches are its namespace's. So the key of a build that lies in another namespace than its BuildCache begins
// with that namespace between slashes, which no other key does.
func Derive(b *v1alpha1.HLBBuild, mounts []string) string {
	if b.CacheName().Namespace != b.Namespace {
		return "/" + b.Namespace + "/" + own(b, mounts)
	}
	return own(b, mounts)
}

// Namespace is the namespace of the builds that have a key, on the daemons of a BuildCache in namespace home.
func Namespace(key, home string) string {
	if rest, foreign := strings.CutPrefix(key, "/"); foreign {
		namespace, _, _ := strings.Cut(rest, "/")
		return namespace
	}
	return home
}

// own is the key among the builds of one namespace.
func own(b *v1alpha1.HLBBuild, mounts []string) string {
	spec := &b.Spec
	if spec.CacheKey != "" {
		return spec.CacheKey
	}
	if p := spec.Platform(); p != "" {
		return derive(b, mounts) + " " + p
	}
	return derive(b, mounts)
}

// derive is the key without the platform, at most 256 characters.
func derive(b *v1alpha1.HLBBuild, mounts []string) string {
	program, source := b.Spec.HLB, b.Spec.Source
	switch {
	case program.Inline == nil && source != nil && source.Git != nil:
		return bounded("git:"+Repository(source.Git.URL)+"//"+path.Join(source.Git.Path, Program(program)),
			program.Targets)
	case program.Inline == nil && source != nil && source.ConfigMap != nil:
		return bounded("configmap:"+source.ConfigMap.Name+"/"+Program(program), program.Targets)
	case len(mounts) > 0:
		return "mounts:" + digest(sorted(mounts))
	default:
		return "build:" + baseName(b)
	}
}

// Repository is a git URL without scheme, credentials, default port and suffix, in lower case where case doesn't
// matter. What is no URL is returned as it is.
func Repository(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return raw
	}
	host := strings.ToLower(u.Host)
	for _, port := range []string{":80", ":443"} {
		host = strings.TrimSuffix(host, port)
	}
	p := strings.Trim(path.Clean("/"+u.Path), "/")
	return host + "/" + strings.TrimSuffix(p, ".git")
}

// Program is the path of the program in its source.
func Program(spec *v1alpha1.HLBSpec) string {
	if spec.Path == "" {
		return defaultProgram
	}
	return path.Clean(spec.Path)
}

// bounded joins a source and its targets. Long ones are cut and made unique by a digest.
func bounded(source string, targets []string) string {
	key := source + "@" + strings.Join(sorted(targets), ",")
	if len(key) <= 256 {
		return key
	}
	return strings.ToValidUTF8(key[:200], "") + "…" + digest([]string{key})
}

// baseName is the object's name without what generateName added, so that a CI's numbered builds share one key.
func baseName(b *v1alpha1.HLBBuild) string {
	if b.GenerateName != "" && strings.HasPrefix(b.Name, b.GenerateName) {
		return strings.TrimRight(b.GenerateName, "-.")
	}
	return b.Name
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

// digest is 16 hexadecimal digits over a list; the separator can't stand in an id that BuildKit accepts.
func digest(list []string) string {
	sum := sha256.Sum256([]byte(strings.Join(list, "\x00")))
	return hex.EncodeToString(sum[:8])
}

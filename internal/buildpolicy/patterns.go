// SPDX-License-Identifier: Apache-2.0

package buildpolicy

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/util/gitutil"

	"github.com/openllb/hlb-operator/internal/cacheref"
)

// anything is the pattern of everything; below ends one of everything below a host or path.
const (
	anything = "*"
	below    = "/*"
)

// covers reports whether one of the patterns covers an image. A pattern is *, the name of a repository, a reference
// with tag or digest, or a host or path that ends in /*. What can't be parsed covers nothing, and is not covered.
func covers(patterns []string, text string) bool {
	ref, err := cacheref.Parse(text)
	if err != nil {
		return false
	}
	for _, pattern := range patterns {
		if coversImage(pattern, ref) {
			return true
		}
	}
	return false
}

func coversImage(pattern string, ref cacheref.Reference) bool {
	if pattern == anything {
		return true
	}
	if prefix, is := strings.CutSuffix(pattern, below); is {
		at := repositoriesBelow(prefix)
		return at.Host == ref.Host && (at.Path == "" || strings.HasPrefix(ref.Path, at.Path+"/"))
	}
	allowed, err := cacheref.Parse(pattern)
	if err != nil || allowed.Repository != ref.Repository {
		return false
	}
	switch named, err := reference.ParseNormalizedNamed(pattern); {
	case err == nil && reference.IsNameOnly(named):
		return true
	case allowed.Digest != "" || ref.Digest != "": // the tag beside a digest says nothing of what is read
		return allowed.Digest == ref.Digest
	}
	return allowed.Tag == ref.Tag
}

// repositoriesBelow are those of a host, or of a path on it. Without a host it is the default registry's.
func repositoriesBelow(prefix string) cacheref.Repository {
	host, rest, _ := strings.Cut(prefix, "/")
	if strings.ContainsAny(host, ".:") || host == "localhost" {
		return cacheref.Repository{Host: cacheref.Host(host), Path: rest}
	}
	return cacheref.Repository{Host: cacheref.DockerHub, Path: prefix}
}

// place is a host, with its port unless it is the scheme's own, and a clean path without a slash before it.
type place struct{ host, path string }

func (p place) String() string { return p.host + "/" + p.path }

// defaultPorts by scheme.
var defaultPorts = map[string]string{"http": ":80", "https": ":443", "ssh": ":22", "git": ":9418"}

// placeOf is where a URL leads.
func placeOf(text string, use Use) (place, error) {
	if use == Git {
		u, err := gitutil.ParseURL(text)
		if errors.Is(err, gitutil.ErrUnknownProtocol) {
			u, err = gitutil.ParseURL("https://" + text) // as BuildKit takes it
		}
		if err != nil {
			return place{}, fmt.Errorf("%q is not the URL of a git repository: %w", text, err)
		}
		return cleanPlace(u.Scheme, u.Host, strings.TrimSuffix(u.Path, ".git")), nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return place{}, fmt.Errorf("%q is not a URL", text)
	}
	return cleanPlace(u.Scheme, u.Host, u.Path), nil
}

func cleanPlace(scheme, host, at string) place {
	host = strings.TrimSuffix(strings.ToLower(host), defaultPorts[scheme])
	return place{host: host, path: strings.TrimPrefix(path.Clean("/"+at), "/")}
}

// isBelow reports whether a pattern covers the place: *, HOST/PATH, HOST/* or HOST/PATH/*.
func (p place) isBelow(pattern string, use Use) bool {
	if pattern == anything {
		return true
	}
	prefix, open := strings.CutSuffix(pattern, below)
	host, rest, _ := strings.Cut(prefix, "/")
	if use == Git {
		rest = strings.TrimSuffix(rest, ".git")
	}
	if strings.ToLower(host) != p.host {
		return false
	}
	if open {
		return rest == "" || strings.HasPrefix(p.path, rest+"/")
	}
	return p.path == rest
}

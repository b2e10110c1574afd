// SPDX-License-Identifier: Apache-2.0

// Package buildpolicy decides what the builds of a BuildCache may use: sources, front ends, places of pushes and of
// build cache. References are compared parsed, see package cacheref.
package buildpolicy

import (
	"fmt"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
)

// Use is what a build uses something as.
type Use string

// The uses. Images and caches are named by reference, git repositories and http sources by URL.
const (
	Image    Use = "image"
	Git      Use = "git"
	HTTP     Use = "http"
	Frontend Use = "frontend"
	Push     Use = "push"
	Cache    Use = "cache" // to import or to export
	// CacheType is a type of build cache that is in no registry.
	CacheType Use = "cacheType"
)

// Policy is that of a BuildCache for builds of one namespace. It is not changed once made.
type Policy struct {
	namespace string
	kept      *cacheref.Kept

	frontends []string
	sources   *v1alpha1.AllowedSources
	pushes    *v1alpha1.AllowedPushes
}

// New returns the policy for builds of a namespace.
func New(spec *v1alpha1.BuildCacheSpec, namespace string) *Policy {
	return &Policy{
		namespace: namespace, kept: keptOf(spec), frontends: spec.AllowedFrontends, sources: spec.AllowedSources,
		pushes: spec.AllowedPushes,
	}
}

// keptOf are the repositories that the operator writes to for a BuildCache.
func keptOf(spec *v1alpha1.BuildCacheSpec) *cacheref.Kept {
	var repositories []string
	if spec.Registry != nil {
		repositories = append(repositories, spec.Registry.Repository)
	}
	for i := range spec.Mounts {
		if s := spec.Mounts[i].Snapshot; s != nil && s.Repository != "" {
			repositories = append(repositories, s.Repository)
		}
	}
	mirrors := map[string][]string{}
	for _, h := range spec.BuildKit.Registries {
		mirrors[h.Host] = h.Mirrors
	}
	return cacheref.NewKept(repositories, mirrors)
}

// Error says that a BuildCache does not permit a build to use something.
type Error struct {
	// What is used, and why it is refused, as a clause without a full stop.
	What string
	// Hint is what its owner may change.
	Hint string
}

func (e *Error) Error() string { return e.What }

// refusal is the error about something that a list of the BuildCache does not have.
func refusal(what, field string) error {
	return &Error{
		What: fmt.Sprintf("%s is not among spec.%s of the BuildCache", what, field),
		Hint: fmt.Sprintf("use another one, or have the owner of the BuildCache add it to spec.%s", field),
	}
}

// Check returns an *Error unless the build may use something.
func (p *Policy) Check(use Use, what string) error {
	switch use {
	case Image:
		return p.checkImage(what)
	case Git:
		return p.checkURL(what, use, "allowedSources.git", p.gitPatterns())
	case HTTP:
		return p.checkURL(what, use, "allowedSources.http", p.httpPatterns())
	case Frontend:
		return p.checkFrontend(what)
	case Push:
		return p.checkPush(what)
	case Cache:
		return p.checkCache(what)
	case CacheType:
		return p.checkCacheType(what)
	}
	return &Error{What: fmt.Sprintf("nothing can be used as %q", string(use))}
}

// Hosts are the hosts of the registries that are asked for references, as cacheref.Host has them, in no order.
func (p *Policy) Hosts(refs []string) []string {
	var out []string
	for _, text := range refs {
		if ref, err := cacheref.Parse(text); err == nil {
			out = append(out, p.kept.Hosts(ref)...)
		}
	}
	return out
}

func (p *Policy) checkImage(text string) error {
	if err := p.kept.CheckImage(text); err != nil {
		return keptError(err)
	}
	if p.sources == nil || covers(p.sources.Images, text) || covers(p.frontends, text) {
		return nil
	}
	return refusal("image "+text, "allowedSources.images")
}

// keptError is about the operator's own repositories.
func keptError(err error) error {
	return &Error{What: err.Error(), Hint: "use another tag, or a repository of your own"}
}

// checkFrontend returns an error if an image is not among the allowed front ends.
func (p *Policy) checkFrontend(text string) error {
	if err := p.kept.CheckImage(text); err != nil {
		return keptError(err)
	}
	if covers(p.frontends, text) {
		return nil
	}
	return refusal("front end "+text, "allowedFrontends")
}

func (p *Policy) checkPush(text string) error {
	if err := p.kept.CheckImage(text); err != nil {
		return keptError(err)
	}
	if p.pushes == nil || covers(p.pushes.Images, text) {
		return nil
	}
	return refusal("a push to "+text, "allowedPushes.images")
}

// checkCache checks a place of build cache that a program imports from or exports to: it is a source and a push at
// once, since what it is decides who is asked for it. The build cache of the build's own namespace is permitted.
func (p *Policy) checkCache(text string) error {
	if err := p.kept.CheckCache(p.namespace, text); err != nil {
		return keptError(err)
	}
	if ref, err := cacheref.Parse(text); err == nil && p.kept.Has(ref.Repository) {
		return nil
	}
	if p.sources != nil && !covers(p.sources.Images, text) {
		return refusal("build cache "+text, "allowedSources.images")
	}
	if p.pushes != nil && !covers(p.pushes.Images, text) {
		return refusal("build cache "+text, "allowedPushes.images")
	}
	return nil
}

func (p *Policy) gitPatterns() *[]string {
	if p.sources == nil {
		return nil
	}
	return &p.sources.Git
}

func (p *Policy) httpPatterns() *[]string {
	if p.sources == nil {
		return nil
	}
	return &p.sources.HTTP
}

// checkURL checks a URL; nil patterns permit all.
func (p *Policy) checkURL(text string, use Use, field string, patterns *[]string) error {
	if patterns == nil {
		return nil
	}
	at, err := placeOf(text, use)
	if err != nil {
		return &Error{What: err.Error()}
	}
	for _, pattern := range *patterns {
		if at.isBelow(pattern, use) {
			return nil
		}
	}
	return refusal(string(use)+" source "+at.String(), field)
}

// checkCacheType refuses build cache that is kept elsewhere than in a registry, where a BuildCache bounds sources or
// pushes: no list has it.
func (p *Policy) checkCacheType(kind string) error {
	if p.sources == nil && p.pushes == nil {
		return nil
	}
	return &Error{
		What: fmt.Sprintf("build cache of type %s is in no registry, and the BuildCache says which are allowed", kind),
		Hint: "keep the cache in a registry",
	}
}

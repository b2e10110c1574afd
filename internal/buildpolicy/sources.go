// SPDX-License-Identifier: Apache-2.0

package buildpolicy

import (
	"regexp"
	"strings"

	spb "github.com/moby/buildkit/sourcepolicy/pb"

	"github.com/openllb/hlb-operator/internal/cacheref"
)

// SourcePolicy is the policy in BuildKit's own terms, nil where it permits every source. It binds what programs can't
// be asked about before it runs: the sources of front ends. Of rules that match, the last one counts.
func (p *Policy) SourcePolicy() *spb.Policy {
	var rules []*spb.Rule
	if p.sources != nil {
		rules = append(rules, deny(`^(docker-image(\+blob)?|git|https?)://`))
		for _, pattern := range append(p.frontends[:len(p.frontends):len(p.frontends)], p.sources.Images...) {
			rules = append(rules, allow(imagePattern(pattern)))
		}
		for _, pattern := range p.sources.Git {
			rules = append(rules, allow(`^git://`+urlPattern(pattern, `(\.git)?/?([#?].*)?`)))
		}
		for _, pattern := range p.sources.HTTP {
			rules = append(rules, allow(`^https?://`+urlPattern(pattern, `/?([#?].*)?`)))
		}
		// a path that leads elsewhere than it seems to
		rules = append(rules, deny(`^(git|https?)://[^#?]*(/\.\.?(/|[#?]|$)|//|%|\\)`))
	}
	for _, r := range p.kept.Repositories() {
		for _, alias := range p.kept.Aliases(r) {
			at := repositoryPattern(alias)
			if alias.Host == cacheref.DockerHub { // which needs not be written
				at = `(` + at + `|` + strings.TrimPrefix(at, hostPattern(alias.Host)) + `)`
			}
			rules = append(rules, deny(`^docker-image(\+blob)?://`+at+`(:(cache|mount)-.*|(:[^@]*)?@.*)$`))
		}
	}
	if len(rules) == 0 {
		return nil
	}
	bundle := deny(`^git://`) // of a repository, that lies in a registry
	bundle.Selector.Constraints = []*spb.AttrConstraint{
		{Key: "git.bundle", Value: ".", Condition: spb.AttrMatch_MATCHES},
	}
	return &spb.Policy{Version: 1, Rules: append(rules, bundle)}
}

func allow(pattern string) *spb.Rule { return rule(spb.PolicyAction_ALLOW, pattern) }
func deny(pattern string) *spb.Rule  { return rule(spb.PolicyAction_DENY, pattern) }

// rule is about identifiers that match a pattern.
func rule(action spb.PolicyAction, pattern string) *spb.Rule {
	return &spb.Rule{
		Action:   action,
		Selector: &spb.Selector{Identifier: pattern, MatchType: spb.MatchType_REGEX},
	}
}

// imagePattern matches the identifiers that a pattern of images covers.
func imagePattern(pattern string) string {
	const scheme = `^docker-image(\+blob)?://`
	if pattern == anything {
		return scheme
	}
	if prefix, is := strings.CutSuffix(pattern, below); is {
		at := repositoriesBelow(prefix)
		if at.Path != "" {
			at.Path += "/"
		}
		return scheme + hostPattern(at.Host) + regexp.QuoteMeta(at.Path)
	}
	ref, err := cacheref.Parse(pattern)
	switch {
	case err != nil:
		return `^$`
	case ref.Digest != "":
		return scheme + repositoryPattern(ref.Repository) + `(:[^@]*)?@` + regexp.QuoteMeta(ref.Digest) + `$`
	case coversImage(pattern, cacheref.Reference{Repository: ref.Repository, Digest: "any"}):
		return scheme + repositoryPattern(ref.Repository) + `([:@].*)?$`
	}
	return scheme + repositoryPattern(ref.Repository) + `:` + regexp.QuoteMeta(ref.Tag) + `$`
}

// repositoryPattern matches the ways to write a repository.
func repositoryPattern(r cacheref.Repository) string {
	at := regexp.QuoteMeta(r.Path)
	if name, official := strings.CutPrefix(r.Path, "library/"); official && r.Host == cacheref.DockerHub {
		at = `(library/)?` + regexp.QuoteMeta(name)
	}
	return hostPattern(r.Host) + at
}

// hostPattern matches the ways to write a registry's host, and the slash behind it.
func hostPattern(host string) string {
	var names []string
	for _, name := range cacheref.HostNames(host) {
		names = append(names, regexp.QuoteMeta(name))
	}
	return `(?i:` + strings.Join(names, `|`) + `)(:443)?/`
}

// urlPattern matches what follows the scheme of URLs that a pattern covers; end is what may follow a whole path.
func urlPattern(pattern, end string) string {
	if pattern == anything {
		return ``
	}
	prefix, open := strings.CutSuffix(pattern, below)
	host, rest, _ := strings.Cut(prefix, "/")
	out := `([^/@]*@)?(?i:` + regexp.QuoteMeta(host) + `)` + `(:(22|80|443|9418))?/`
	if open && rest != "" {
		return out + regexp.QuoteMeta(rest) + `/`
	}
	if open {
		return out
	}
	return out + regexp.QuoteMeta(strings.TrimSuffix(rest, ".git")) + end + `$`
}

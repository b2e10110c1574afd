// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/system"
)

// number is an int of HLB.
func number(n *uint64, unset string) string {
	if n == nil {
		return unset
	}
	return strconv.FormatUint(*n, 10)
}

// octal is a file mode of HLB.
func octal(mode uint64) string { return fmt.Sprintf("0o%03o", mode) }

// copying is a COPY or ADD being converted.
type copying struct {
	*stage
	where   []parser.Range
	sources instructions.SourcesAndDest
	from    string // expression; empty for the context until a source is copied from it
	context bool   // from is the context
	add     *instructions.AddCommand
	parents bool
	link    bool
	opts    []call // that all sources have
	calls   []call
}

func (s *stage) copyFrom(i *instructions.CopyCommand, where []parser.Range) error {
	c := &copying{
		stage: s, where: where, sources: i.SourcesAndDest, context: i.From == "", parents: i.Parents, link: i.Link,
	}
	if !c.context {
		c.from = s.source(i.From, true)
	}
	return c.convert(i.Chown, i.Chmod, i.ExcludePatterns)
}

func (s *stage) addFrom(i *instructions.AddCommand, where []parser.Range) error {
	c := &copying{stage: s, where: where, sources: i.SourcesAndDest, context: true, add: i, link: i.Link}
	return c.convert(i.Chown, i.Chmod, i.ExcludePatterns)
}

// convert converts a COPY or ADD: a call of copy for each source.
func (c *copying) convert(chown, chmod string, exclude []string) error {
	if chown != "" {
		c.opts = append(c.opts, called("chown", c.literal(text(chown))))
	}
	c.chmod(c.plain(text(chmod)))
	if len(exclude) > 0 {
		c.opts = append(c.opts, called("excludePatterns", c.quotedAll(exclude)...))
	}
	dest, ok := c.dest(text(c.sources.DestPath), c.link && chmod == "")
	if !ok {
		return nil
	}
	for _, src := range c.sources.SourcePaths {
		if err := c.source(text(src), dest); err != nil {
			return err
		}
	}
	for _, file := range c.sources.SourceContents {
		made := block(called("mkfile", c.quoted(file.Path), "0o644", c.literal(text(file.Data))))
		c.copy(made, c.quoted(file.Path), dest, called("createDestPath"))
	}
	if c.link && chmod == "" {
		c.stage.add(called("merge", block(c.calls...)))
		return nil
	}
	for _, one := range c.calls {
		c.stage.add(one)
	}
	return nil
}

func (c *copying) copy(from, src, dest string, opts ...call) {
	c.calls = append(c.calls, called("copy", from, src, dest).and(opts...).and(c.opts...))
}

func (c *copying) chmod(mode string) {
	if mode == "" {
		return
	}
	bits, err := strconv.ParseUint(mode, 8, 32)
	if err != nil {
		c.problem(c.where, "--chmod="+mode, "a mode is a number in HLB")
		return
	}
	c.opts = append(c.opts, called("chmod", octal(bits)))
}

// dest is the expression of the destination. A linked copy has no working directory to start at.
func (c *copying) dest(dest text, linked bool) (string, bool) {
	plain := c.plain(dest)
	if plain == "." || plain == "" {
		dest, plain = "./", "./"
	}
	if !linked || path.IsAbs(plain) {
		return c.literal(dest), true
	}
	if c.dir == "" {
		c.problem(c.where, plain,
			"--link to a path relative to the working directory of the base image, which was not looked at")
		return "", false
	}
	return c.literal(c.mapped(dest, func(p string) string {
		joined, _ := system.NormalizePath(c.dir, p, "linux", true)
		return joined
	})), true
}

// source converts one source path.
func (c *copying) source(src text, dest string) error {
	plain := c.plain(src)
	ref, isGit, err := dfgitutil.ParseGitRef(plain)
	switch {
	case err != nil && isGit:
		return err
	case err == nil && !ref.IndistinguishableFromLocal:
		c.git(ref, dest)
		return nil
	case strings.HasPrefix(plain, "http://") || strings.HasPrefix(plain, "https://"):
		c.http(src, dest)
		return nil
	}
	rules := c.shared(likeCopy)
	if c.add != nil && (c.add.Unpack == nil || *c.add.Unpack) {
		rules = c.shared(likeAdd)
	}
	if c.from == "" {
		c.from = c.shared(contextName).expression()
	}
	if c.parents {
		c.withParents(src, dest, rules)
		return nil
	}
	c.copy(c.from, c.literal(c.normalized(src)), dest, rules)
	return nil
}

// normalized is a source path as BuildKit reads it. In the context, whose root is where relative paths start, it stays
// relative.
func (c *copying) normalized(src text) text {
	return c.mapped(src, func(p string) string {
		p, _ = system.NormalizePath("/", p, "linux", false)
		if rel := strings.TrimPrefix(p, "/"); c.context && rel != "" {
			return rel
		}
		return p
	})
}

// withParents converts a source of COPY --parents: a pattern of the whole tree, or of what is behind "/./".
func (c *copying) withParents(src text, dest string, rules call) {
	parent, pattern, ok := strings.Cut(c.plain(src), "/./")
	if !ok {
		parent, pattern = "/", parent
	}
	pattern, _ = system.NormalizePath("/", pattern, "linux", false)
	if !strings.ContainsAny(parent+pattern, "*?[") {
		c.problem(c.where, "--parents "+c.plain(src),
			"a pattern of HLB may match nothing, so a missing file is no error; it is one here")
	}
	c.copy(c.from, c.literal(c.normalized(text(parent))), dest, rules,
		called("includePatterns", c.quoted(strings.TrimPrefix(pattern, "/"))))
}

// git converts a source of ADD that is a repository.
func (c *copying) git(ref *dfgitutil.GitRef, dest string) {
	keep := c.add.KeepGitDir
	if ref.KeepGitDir != nil {
		keep = ref.KeepGitDir
	}
	for _, lacking := range []struct {
		what   string
		wanted bool
	}{
		{"a checksum", ref.Checksum != "" || c.add.Checksum != ""}, {"a directory of a repository", ref.SubDir != ""},
		{"a choice of submodules", ref.Submodules != nil && !*ref.Submodules},
		{"a commit without its ref", ref.FetchByCommit}, {"times of commits", ref.MTime != ""},
	} {
		if lacking.wanted {
			c.problem(c.where, "ADD "+ref.Remote, "git has no words for %s in HLB", lacking.what)
		}
	}
	git := called("git", c.quoted(ref.Remote), c.quoted(ref.Ref))
	if keep != nil && *keep {
		git = git.and(called("keepGitDir"))
	}
	c.copy(git.expression(), `"/"`, dest, called("createDestPath"))
}

// http converts a source of ADD that is a URL.
func (c *copying) http(src text, dest string) {
	name := "__unnamed__"
	if u, err := url.Parse(c.plain(src)); err == nil {
		if base := path.Base(u.Path); base != "." && base != "/" {
			name = base
		}
	}
	http := called("http", c.literal(src)).and(called("filename", c.quoted(name)))
	if sum := c.add.Checksum; sum != "" {
		http = http.and(called("checksum", c.literal(text(sum))))
	}
	opts := []call{called("createDestPath")}
	if c.add.Unpack != nil && *c.add.Unpack {
		opts = append(opts, called("unpack"))
	}
	c.copy(http.expression(), c.quoted(name), dest, opts...)
}

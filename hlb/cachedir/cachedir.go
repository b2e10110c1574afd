// SPDX-License-Identifier: Apache-2.0

// Package cachedir knows the cache directories of common tools and how a cache mount over each may be shared between
// builds that run at the same time.
package cachedir

import (
	"path"
	"strings"
)

// Sharing is a mode of a cache mount.
type Sharing string

// The modes. Shared lets builds use one directory at once, Private gives each its own, Locked makes them wait for
// each other.
const (
	Shared  Sharing = "shared"
	Private Sharing = "private"
	Locked  Sharing = "locked"
)

// Advice is what is known about one cache directory.
type Advice struct {
	Tool    string
	Sharing Sharing // the mode that is safe and keeps the most
	Reason  string  // why, as a clause
	Source  string  // the documentation that says so
	dirs    []string
}

// Safe reports whether mode is safe too. Where builds may share a directory, any mode is; where they may not, both of
// the others keep them apart.
func (a Advice) Safe(mode Sharing) bool { return a.Sharing == Shared || mode != Shared }

// For returns the advice for a cache mount at target, which may lie in a home directory of any user. ok is false if
// no tool is known to use it; such a directory is best treated as Shared, the default of BuildKit's own frontend.
func For(target string) (advice Advice, ok bool) {
	target = path.Clean(target)
	for _, a := range table {
		for _, dir := range a.dirs {
			if covers(dir, target) {
				return a, true
			}
		}
	}
	return Advice{}, false
}

// Default returns the mode for a cache mount at target whose program names none.
func Default(target string) Sharing {
	if a, ok := For(target); ok {
		return a.Sharing
	}
	return Shared
}

// covers reports whether target is dir or below it. A dir that starts with "~/" stands for that directory of any
// home: /root, or a directory of /home.
func covers(dir, target string) bool {
	if rest, ok := strings.CutPrefix(dir, "~/"); ok {
		home := homeOf(target)
		if home == "" {
			return false
		}
		dir = home + "/" + rest
	}
	return target == dir || strings.HasPrefix(target, dir+"/")
}

func homeOf(target string) string {
	if strings.HasPrefix(target, "/root/") {
		return "/root"
	}
	rest, ok := strings.CutPrefix(target, "/home/")
	if !ok {
		return ""
	}
	user, _, _ := strings.Cut(rest, "/")
	return "/home/" + user
}

// table is searched in order. Directories of one tool that need different modes have entries of their own.
var table = []Advice{
	{
		Tool: "apt", Sharing: Locked, dirs: []string{"/var/lib/apt", "/var/cache/apt"},
		Reason: "apt needs exclusive access to its data and fails if another apt holds the lock",
		Source: "https://docs.docker.com/reference/dockerfile/#example-cache-apt-packages",
	},
	{
		Tool: "dpkg", Sharing: Locked, dirs: []string{"/var/lib/dpkg"},
		Reason: "dpkg locks its database and fails if another dpkg holds the lock",
		Source: "https://man7.org/linux/man-pages/man1/dpkg.1.html",
	},
	{
		Tool: "apk", Sharing: Locked, dirs: []string{"/var/cache/apk", "/etc/apk/cache", "/var/lib/apk"},
		Reason: "apk locks the database of its own root only, so two roots write the cache at once",
		Source: "https://man.archlinux.org/man/apk.8.en",
	},
	{
		Tool: "dnf", Sharing: Locked, dirs: []string{"/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5"},
		Reason: "dnf rewrites the metadata of repositories in place",
		Source: "https://dnf.readthedocs.io/en/latest/conf_ref.html",
	},
	{
		Tool: "pacman", Sharing: Locked, dirs: []string{"/var/cache/pacman", "/var/lib/pacman"},
		Reason: "pacman locks its database, not its package cache",
		Source: "https://man.archlinux.org/man/pacman.8",
	},
	{
		Tool: "Go", Sharing: Shared,
		dirs:   []string{"~/.cache/go-build", "/go/pkg/mod", "~/go/pkg/mod", "/go/pkg/sumdb"},
		Reason: "the go command's caches are made for concurrent use: files are written whole, and modules under file locks",
		Source: "https://go.dev/ref/mod#module-cache",
	},
	{
		Tool: "npm", Sharing: Shared, dirs: []string{"~/.npm"},
		Reason: "npm's cache is content-addressed and safe for concurrent processes without locks",
		Source: "https://github.com/npm/cacache#features",
	},
	{
		Tool: "Yarn", Sharing: Shared, dirs: []string{"~/.yarn/berry/cache"},
		Reason: "Yarn's mirror holds immutable archives that are moved into place whole",
		Source: "https://yarnpkg.com/features/caching",
	},
	{
		Tool: "Yarn 1", Sharing: Locked, dirs: []string{"~/.cache/yarn", "/usr/local/share/.cache"},
		Reason: "Yarn 1 needs a mutex between processes that share a cache",
		Source: "https://classic.yarnpkg.com/en/docs/cli/#toc-concurrency-and-mutex",
	},
	{
		Tool: "pnpm", Sharing: Shared, dirs: []string{"~/.local/share/pnpm/store", "~/.pnpm-store", "/pnpm/store"},
		Reason: "pnpm's store is content-addressed and meant for all projects of a machine",
		Source: "https://pnpm.io/docker",
	},
	{
		Tool: "pip", Sharing: Shared, dirs: []string{"~/.cache/pip"},
		Reason: "pip moves entries of its cache into place whole",
		Source: "https://pip.pypa.io/en/stable/topics/caching/",
	},
	{
		Tool: "uv", Sharing: Shared, dirs: []string{"~/.cache/uv"},
		Reason: "uv's cache is append-only and safe for several processes at once",
		Source: "https://docs.astral.sh/uv/concepts/cache/#cache-safety",
	},
	{
		Tool: "Poetry", Sharing: Locked, dirs: []string{"~/.cache/pypoetry"},
		Reason: "Poetry keeps virtual environments, which it changes in place, beside its cache",
		Source: "https://python-poetry.org/docs/configuration/#cache-dir",
	},
	{
		Tool: "Cargo's packages", Sharing: Locked, dirs: []string{
			"~/.cargo/registry", "~/.cargo/git", "/usr/local/cargo/registry", "/usr/local/cargo/git",
		},
		Reason: "Cargo's lock lies in its home, so builds that share only a directory in it unpack packages over each other",
		Source: "https://docs.docker.com/build/cache/optimize/",
	},
	{
		Tool: "Cargo", Sharing: Shared, dirs: []string{"~/.cargo", "/usr/local/cargo", "/var/cache/cargo"},
		Reason: "Cargo locks the package cache by a file in its home",
		Source: "https://doc.rust-lang.org/stable/nightly-rustc/cargo/util/cache_lock/index.html",
	},
	{
		Tool: "Maven", Sharing: Locked, dirs: []string{"~/.m2"},
		Reason: "Maven coordinates the threads of one process by default, not several processes",
		Source: "https://maven.apache.org/resolver/maven-resolver-impl/synccontextfactory.html",
	},
	{
		Tool: "Gradle", Sharing: Locked, dirs: []string{"~/.gradle", "/home/gradle/.gradle"},
		Reason: "Gradle hands its locks over by loopback network, which containers don't share, and times out",
		Source: "https://docs.gradle.org/current/userguide/dependency_caching.html",
	},
	{
		Tool: "ccache", Sharing: Shared, dirs: []string{"~/.ccache", "~/.cache/ccache", "/ccache"},
		Reason: "ccache is made to be shared by concurrent builds",
		Source: "https://ccache.dev/manual/latest.html#_sharing_a_local_cache",
	},
	{
		Tool: "sccache", Sharing: Private, dirs: []string{"~/.cache/sccache"},
		Reason: "sccache supports one server at a time on a local directory",
		Source: "https://github.com/mozilla/sccache/blob/main/docs/Local.md",
	},
	{
		Tool: "Composer", Sharing: Locked, dirs: []string{"~/.composer/cache", "~/.cache/composer"},
		Reason: "Composer doesn't lock its cache and cleans it up while it runs",
		Source: "https://getcomposer.org/doc/06-config.md#cache-dir",
	},
	{
		Tool: "NuGet", Sharing: Locked, dirs: []string{"~/.nuget/packages", "~/.local/share/NuGet"},
		Reason: "NuGet's locks lie in the directory for temporary files, which builds don't share",
		Source: "https://github.com/NuGet/Home/issues/14089",
	},
	{
		Tool: "Bundler", Sharing: Locked, dirs: []string{"/usr/local/bundle", "~/.bundle/cache"},
		Reason: "Bundler installs gems in place without locks between processes",
		Source: "https://bundler.io/man/bundle-install.1.html",
	},
}

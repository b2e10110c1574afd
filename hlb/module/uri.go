// SPDX-License-Identifier: Apache-2.0

// Package module finds, reads and checks the modules that a program imports. It knows where a path leads and keeps
// programs inside the tree they came with. Which module an import stands for is found by its users: package link
// without evaluating anything, package lower by evaluation.
package module

import (
	"fmt"
	"net/url"
	"strings"
)

// DefaultFile is the file of a git import that names none.
const DefaultFile = "build.hlb"

// FSFile is the file that an import from a filesystem means.
const FSFile = "module.hlb"

// URI is the operand of an import, taken apart.
type URI struct {
	// Scheme is empty for paths, else git, git+https or git+ssh.
	Scheme string
	// Path is the file of a path import, or the repository's path with its leading slash.
	Path string
	// User and Host (with its port) are those of a repository.
	User, Host string
	// Ref is a branch, tag or commit; empty for the default branch.
	Ref string
	// File is the module's file in the repository.
	File string
}

// SchemeError says that no module can be read from a URI of this scheme.
type SchemeError struct {
	Scheme string
}

func (e *SchemeError) Error() string {
	return fmt.Sprintf("can't import from %s: a path, git://, git+https:// or git+ssh:// is wanted", e.Scheme)
}

// Parse takes the operand of an import apart. Errors are of type *SchemeError, or say what is missing.
func Parse(operand string) (URI, error) {
	scheme, rest, ok := strings.Cut(operand, "://")
	if !ok {
		if after, isFile := strings.CutPrefix(operand, "file:"); isFile {
			return URI{Path: after}, nil
		}
		return URI{Path: operand}, nil
	}
	switch scheme {
	case "file":
		return URI{Path: rest}, nil
	case "git", "git+https", "git+ssh":
		return parseGit(scheme, rest)
	}
	return URI{}, &SchemeError{Scheme: scheme}
}

// parseGit reads [user@]host/repository[@ref][:file].
func parseGit(scheme, rest string) (URI, error) {
	u := URI{Scheme: scheme, File: DefaultFile}
	authority, p, ok := strings.Cut(rest, "/")
	if !ok || authority == "" {
		return URI{}, fmt.Errorf("%s://%s names no repository", scheme, rest)
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		u.User, authority = authority[:at], authority[at+1:]
	}
	u.Host = authority
	p = "/" + p
	if colon := strings.LastIndex(p, ":"); colon >= 0 {
		p, u.File = p[:colon], p[colon+1:]
	}
	if at := strings.Index(p, "@"); at >= 0 {
		p, u.Ref = p[:at], p[at+1:]
	}
	u.Path = p
	if u.Path == "/" || u.File == "" {
		return URI{}, fmt.Errorf("%s://%s names no repository and file", scheme, rest)
	}
	return u, nil
}

// Remote returns the URL to fetch the repository from: over ssh if it says so, or if it leaves the choice and ssh is
// wanted, else over https.
func (u URI) Remote(ssh bool) string {
	if u.Scheme == "git+ssh" || u.Scheme == "git" && ssh {
		user := u.User
		if user == "" {
			user = "git"
		}
		return (&url.URL{Scheme: "ssh", User: url.User(user), Host: u.Host, Path: u.Path}).String()
	}
	r := url.URL{Scheme: "https", Host: u.Host, Path: u.Path}
	if u.User != "" {
		r.User = url.User(u.User)
	}
	return r.String()
}

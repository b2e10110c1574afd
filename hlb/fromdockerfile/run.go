// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/system"

	"github.com/openllb/hlb-operator/hlb/cachedir"
)

// notEnvironment are ARGs that BuildKit reads itself and no command sees.
var notEnvironment = map[string]bool{"BUILDKIT_SBOM_SCAN_CONTEXT": true, "BUILDKIT_SBOM_SCAN_STAGE": true}

// run converts RUN.
func (s *stage) run(i *instructions.RunCommand, where []parser.Range) error {
	if s.pathUnset {
		s.env("PATH", text(system.DefaultPathEnv("linux")))
	}
	run, opts := s.command(i)
	for _, v := range s.vars {
		if v.arg && !notEnvironment[v.key] {
			opts = append(opts, called("env", s.quoted(v.key), s.literal(v.text)))
		}
	}
	if network := instructions.GetNetwork(i); network != instructions.NetworkDefault {
		opts = append(opts, called("network", s.quoted(network)))
	}
	if security := instructions.GetSecurity(i); security != instructions.SecuritySandbox {
		opts = append(opts, called("security", s.quoted(security)))
	}
	for _, device := range instructions.GetDevices(i) {
		s.problem(where, "--device="+device.Name, "HLB has no devices")
	}
	var readonly []string
	for _, m := range instructions.GetMounts(i) {
		opt, ok := s.mount(m, where)
		if !ok {
			continue
		}
		for _, over := range readonly {
			if strings.HasPrefix(s.absolute(m.Target), strings.TrimSuffix(over, "/")+"/") {
				s.problem(where, "target="+m.Target, "a mount below a read-only one gets its mount point made in HLB")
			}
		}
		if m.ReadOnly && m.Type != instructions.MountTypeSecret && m.Type != instructions.MountTypeSSH {
			readonly = append(readonly, s.absolute(m.Target))
		}
		opts = append(opts, opt)
	}
	s.add(run.and(opts...))
	return nil
}

// command is the command of RUN, with the options that its form takes.
func (s *stage) command(i *instructions.RunCommand) (call, []call) {
	if !i.PrependShell {
		if len(i.CmdLine) == 1 {
			return called("run", s.quoted(shellWord(i.CmdLine[0]))), []call{called("shlex")}
		}
		return called("run", s.quotedAll(i.CmdLine)...), nil
	}
	line := strings.Join(i.CmdLine, " ")
	if len(i.Files) == 0 {
		return called("run", s.quoted(line)), nil
	}
	if parser.MustParseHeredoc(line) == nil { // it is given to the shell
		for _, file := range i.Files {
			line += "\n" + file.Data + file.Name
		}
		return called("run", s.quoted(line)), nil
	}
	file := i.Files[0]
	data := file.Data
	if file.Chomp {
		data = parser.ChompHeredocContent(data)
	}
	if !strings.HasPrefix(data, "#!") {
		return called("run", s.quoted(data)), nil
	}
	script := block(called("mkfile", s.quoted(file.Name), "0o755", s.quoted(data)))
	mount := called("mount", script, `"/dev/pipes/"`).and(called("readonly"), called("sourcePath", `"/"`))
	return called("run", s.quoted("/dev/pipes/"+file.Name)), []call{mount}
}

// shellWord is a word that a shell reads as s.
func shellWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// absolute is a path, starting at the working directory if that is known.
func (s *stage) absolute(p string) string {
	if path.IsAbs(path.Clean(p)) {
		return p
	}
	return path.Join("/", s.dir, p)
}

// mount converts a mount of RUN. If HLB has no such mount, ok is false and the problem noted.
func (s *stage) mount(m *instructions.Mount, where []parser.Range) (_ call, ok bool) {
	what := "--mount=type=" + string(m.Type)
	switch m.Type {
	case instructions.MountTypeSecret:
		return s.secret(m, where)
	case instructions.MountTypeSSH:
		return s.ssh(m), true
	}
	if !path.IsAbs(path.Clean(m.Target)) && s.dir == "" {
		s.problem(where, what,
			"the target is relative to the working directory of the base image, which was not looked at")
		return call{}, false
	}
	target := s.quoted(s.absolute(m.Target))
	source := s.shared(contextName).expression()
	if m.From != "" {
		source = s.source(m.From, false)
	}
	if m.Type == instructions.MountTypeCache {
		return s.cache(m, target, source), true
	}
	mount := called("mount", source, target)
	if m.Type == instructions.MountTypeTmpfs {
		if m.SizeLimit > 0 {
			s.problem(where, what+",size=", "a tmpfs has no size in HLB")
		}
		mount = called("mount", scratch, target).and(called("tmpfs"))
	}
	if m.ReadOnly {
		mount = mount.and(called("readonly"))
	}
	if src := path.Join("/", m.Source); src != "/" {
		mount = mount.and(called("sourcePath", s.quoted(src)))
	}
	return mount, true
}

// cache converts a cache mount.
func (s *stage) cache(m *instructions.Mount, target, source string) call {
	cache := s.extension("cacheMount", target)
	id := m.CacheID
	if id == "" {
		id = path.Clean(m.Target)
	}
	if id != path.Clean(s.absolute(m.Target)) {
		cache = cache.and(s.extension("id", s.quoted(id)))
	}
	sharing := string(m.CacheSharing)
	if sharing == "" {
		sharing = string(cachedir.Shared)
	}
	if sharing != string(cachedir.Default(path.Clean(s.absolute(m.Target)))) {
		cache = cache.and(s.extension("sharing", s.quoted(sharing)))
	}
	if m.From != "" && source != scratch {
		cache = cache.and(s.extension("base", source))
	}
	if src := path.Join("/", m.Source); src != "/" {
		return s.readonlyCache(m, cache.and(called("sourcePath", s.quoted(src))))
	}
	if m.UID != nil || m.GID != nil {
		cache = cache.and(s.extension("owner", number(m.UID, "0"), number(m.GID, "0")))
	}
	if m.Mode != nil {
		cache = cache.and(s.extension("permissions", octal(*m.Mode)))
	}
	return s.readonlyCache(m, cache)
}

func (s *stage) readonlyCache(m *instructions.Mount, cache call) call {
	if m.ReadOnly {
		return cache.and(called("readonly"))
	}
	return cache
}

// secret converts a mount of a secret. Its id is the path of a file beside the program.
func (s *stage) secret(m *instructions.Mount, where []parser.Range) (call, bool) {
	id := m.Source
	if id == "" {
		id = m.CacheID
	}
	if id == "" {
		id = path.Base(m.Target)
	}
	if m.Env != nil {
		s.problem(where, "--mount=type=secret,env="+*m.Env, "a secret is a file in HLB, not an environment variable")
		return call{}, false
	}
	target := m.Target
	if target == "" {
		target = "/run/secrets/" + path.Base(id)
	}
	secret := s.owned(m, called("secret", s.quoted(id), s.quoted(target)))
	if !m.Required {
		secret = secret.and(s.extension("optional"))
	}
	return secret, true
}

// ssh converts a mount of an agent.
func (s *stage) ssh(m *instructions.Mount) call {
	ssh := called("ssh")
	if m.CacheID != "" && m.CacheID != "default" {
		ssh = ssh.and(called("localPaths", s.quoted(m.CacheID)))
	}
	if m.Target != "" {
		ssh = ssh.and(called("target", s.quoted(m.Target)))
	}
	ssh = s.owned(m, ssh)
	if !m.Required {
		ssh = ssh.and(s.extension("optional"))
	}
	return ssh
}

// owned adds the owner and mode of a mount.
func (s *stage) owned(m *instructions.Mount, c call) call {
	if m.UID != nil {
		c = c.and(called("uid", number(m.UID, "")))
	}
	if m.GID != nil {
		c = c.and(called("gid", number(m.GID, "")))
	}
	if m.Mode != nil {
		c = c.and(called("mode", octal(*m.Mode)))
	}
	return c
}

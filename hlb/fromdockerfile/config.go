// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// instruction converts one instruction. Where it is, is where its problems are.
func (s *stage) instruction(cmd instructions.Command, where []parser.Range) error {
	if err := s.expandWords(cmd); err != nil {
		return err
	}
	switch i := cmd.(type) {
	case *instructions.RunCommand:
		return s.run(i, where)
	case *instructions.CopyCommand:
		return s.copyFrom(i, where)
	case *instructions.AddCommand:
		return s.addFrom(i, where)
	case *instructions.ArgCommand:
		return s.arg(i)
	case *instructions.WorkdirCommand:
		if epoch, ok := s.globals.find("SOURCE_DATE_EPOCH"); ok && epoch.value != "" {
			s.problem(where, i.String(),
				"with SOURCE_DATE_EPOCH the directory gets that time, which the program doesn't say")
		}
		s.workdir(text(i.Path))
	case *instructions.ShellCommand:
		s.shell = i.Shell
		s.add(called("shell", s.quotedAll(i.Shell)...))
	case *instructions.EnvCommand:
		for _, kv := range i.Env {
			s.env(s.plain(text(kv.Key)), text(kv.Value))
		}
	case *instructions.UserCommand:
		s.user = text(i.User)
		s.add(called("user", s.literal(s.user)))
	case *instructions.OnbuildCommand:
		s.onbuild = append(s.onbuild, i.Expression)
		if s == s.target {
			s.problem(where, i.String(), "HLB has no ONBUILD in an image config; write a function with a parameter fs")
		}
	case *instructions.HealthCheckCommand:
		s.problem(where, i.String(), "HLB has no health checks in an image config")
	default:
		return s.metadata(cmd)
	}
	return nil
}

// metadata converts what only the image config is about.
func (s *stage) metadata(cmd instructions.Command) error {
	switch i := cmd.(type) {
	case *instructions.EntrypointCommand:
		s.add(called("entrypoint", s.quotedAll(s.withShell(i.ShellDependantCmdLine))...))
		if !s.cmdSet && s.imageHasCmd && !s.hasCmd() {
			s.body = append(s.body, "cmd # ENTRYPOINT drops the command of the base")
		}
	case *instructions.CmdCommand:
		s.cmdSet = true
		s.add(called("cmd", s.quotedAll(s.withShell(i.ShellDependantCmdLine))...))
	case *instructions.LabelCommand:
		for _, kv := range i.Labels {
			s.add(called("label", s.literal(text(kv.Key)), s.literal(text(kv.Value))))
		}
	case *instructions.MaintainerCommand:
		s.add(called("label", `"maintainer"`, s.quoted(i.Maintainer)))
	case *instructions.VolumeCommand:
		var paths []string
		for _, v := range i.Volumes {
			paths = append(paths, s.literal(text(v)))
		}
		s.add(called("volumes", paths...))
	case *instructions.StopSignalCommand:
		s.add(called("stopSignal", s.literal(text(i.Signal))))
	case *instructions.ExposeCommand:
		return s.expose(i)
	default:
		return fmt.Errorf("%s is not known", strings.ToUpper(cmd.Name()))
	}
	return nil
}

// expandWords replaces the variables of an instruction. ARG expands its own; mounts are read as they are, so that RUN
// gets values and no references.
func (s *stage) expandWords(cmd instructions.Command) error {
	_, isArg := cmd.(*instructions.ArgCommand)
	_, isRun := cmd.(*instructions.RunCommand)
	if words, ok := cmd.(instructions.SupportsSingleWordExpansion); ok && !isArg {
		err := words.Expand(func(word string) (string, error) {
			t, err := s.word(s.lex, word)
			if isRun {
				return s.plain(t), err
			}
			return string(t), err
		})
		if err != nil {
			return err
		}
	}
	if files, ok := cmd.(instructions.SupportsSingleWordExpansionRaw); ok {
		lex := shell.NewLex('\\')
		lex.SkipProcessQuotes = true
		return files.ExpandRaw(func(word string) (string, error) {
			t, err := s.word(lex, word)
			return string(t), err
		})
	}
	return nil
}

func (s *stage) env(key string, value text) {
	s.vars = s.vars.set(variable{key: key, value: s.plain(value), text: value})
	if key == "PATH" {
		s.pathUnset = false
	}
	s.add(called("env", s.quoted(key), s.literal(value)))
}

// arg adds what a stage knows of an ARG. It becomes part of the commands that follow, not of the image.
func (s *stage) arg(i *instructions.ArgCommand) error {
	for _, arg := range i.Args {
		value, ok, err := s.argValue(arg, s.vars)
		if err != nil {
			return err
		}
		global, inherited := s.globals.find(arg.Key)
		switch {
		case ok:
			ref := s.argument(arg.Key, value)
			s.vars = s.vars.set(variable{key: arg.Key, value: s.plain(value), text: ref, arg: true})
		case inherited:
			s.vars = s.vars.set(global)
		}
	}
	return nil
}

// workdir sets the working directory and makes it.
func (s *stage) workdir(p text) {
	plain := s.plain(p)
	switch {
	case path.IsAbs(plain):
		s.dir = path.Clean(plain)
	case s.dir != "":
		s.dir = path.Join(s.dir, plain)
	}
	switch {
	case s.dir == "/":
		s.add(called("dir", `"/"`))
	case s.user != "":
		s.add(s.shared(ownWorkdirName, s.literal(s.user), s.literal(p)))
	default:
		s.add(s.shared(workdirName, s.literal(p)))
	}
}

// hasCmd reports whether the stage has a CMD anywhere, which counts whatever ENTRYPOINT does.
func (s *stage) hasCmd() bool {
	for _, cmd := range s.of.Commands {
		if _, ok := cmd.(*instructions.CmdCommand); ok {
			return true
		}
	}
	return false
}

// withShell is a command line with the shell of the stage, if it is not in JSON form.
func (s *stage) withShell(line instructions.ShellDependantCmdLine) []string {
	if !line.PrependShell {
		return line.CmdLine
	}
	sh := s.shell
	if len(sh) == 0 {
		sh = []string{"/bin/sh", "-c"}
	}
	return append(append([]string{}, sh...), strings.Join(line.CmdLine, " "))
}

// expose converts EXPOSE, whose ports may be ranges.
func (s *stage) expose(i *instructions.ExposeCommand) error {
	var ports []string
	for _, word := range i.Ports {
		words, err := s.lex.ProcessWords(word, values{s.vars, false})
		if err != nil {
			return err
		}
		for _, w := range words {
			w = w[strings.LastIndex(w, ":")+1:] // a port of the host says nothing
			port, proto, _ := strings.Cut(w, "/")
			if proto = strings.ToLower(proto); proto != "" && proto != "tcp" {
				proto = "/" + proto
			} else {
				proto = ""
			}
			first, last, isRange := strings.Cut(port, "-")
			from, err := strconv.Atoi(first)
			to, errTo := from, err
			if isRange {
				to, errTo = strconv.Atoi(last)
			}
			if err != nil || errTo != nil || to < from || to > 1<<16 {
				return fmt.Errorf("%q is not a port", w)
			}
			for p := from; p <= to; p++ {
				ports = append(ports, s.quoted(strconv.Itoa(p)+proto))
			}
		}
	}
	s.add(called("expose", ports...))
	return nil
}

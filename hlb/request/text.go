// SPDX-License-Identifier: Apache-2.0

package request

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// Text renders a definition for people and for tests: an op a line, numbered in the order of the definition, inputs
// before what uses them; %2 is the first output of op 2, %2.1 its second one. The last line says which output is the
// result. Equal graphs give equal texts. An empty definition is "scratch".
func Text(def *llb.Definition) string {
	if len(def.Def) == 0 {
		return "scratch\n"
	}
	t := texter{numbers: map[string]int{}}
	var b strings.Builder
	for i, dt := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err != nil {
			fmt.Fprintf(&b, "%d: %v\n", i+1, err)
			continue
		}
		if op.Op == nil {
			fmt.Fprintf(&b, "result %s\n", t.input(&op, 0))
			continue
		}
		t.numbers[digest.FromBytes(dt).String()] = i + 1
		fmt.Fprintf(&b, "%d: %s\n", i+1, t.op(&op))
	}
	return b.String()
}

type texter struct {
	numbers map[string]int // by digest
}

func (t texter) input(op *pb.Op, i int64) string {
	if i < 0 || int(i) >= len(op.Inputs) {
		return "scratch"
	}
	in := op.Inputs[i]
	if in.Index == 0 {
		return fmt.Sprintf("%%%d", t.numbers[in.Digest])
	}
	return fmt.Sprintf("%%%d.%d", t.numbers[in.Digest], in.Index)
}

func (t texter) op(op *pb.Op) string {
	var s string
	switch o := op.Op.(type) {
	case *pb.Op_Source:
		s = "source " + o.Source.Identifier + attrs(o.Source.Attrs)
	case *pb.Op_Exec:
		s = t.exec(op, o.Exec)
	case *pb.Op_File:
		var parts []string
		for _, a := range o.File.Actions {
			parts = append(parts, t.action(op, a))
		}
		s = "file " + strings.Join(parts, "; ")
	case *pb.Op_Merge:
		var parts []string
		for _, in := range o.Merge.Inputs {
			parts = append(parts, t.input(op, in.Input))
		}
		s = "merge " + strings.Join(parts, " ")
	case *pb.Op_Diff:
		s = fmt.Sprintf("diff lower %s upper %s", t.input(op, o.Diff.Lower.Input), t.input(op, o.Diff.Upper.Input))
	default:
		s = fmt.Sprintf("%T", o)
	}
	if p := op.Platform; p != nil && (p.OS != "linux" || p.Architecture != "amd64") {
		s += " on " + strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
	}
	return s
}

// attrs renders attributes in order of their names; those that say nothing about the program are left out.
func attrs(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		switch k {
		case pb.AttrLocalUniqueID, pb.AttrSharedKeyHint, pb.AttrAuthHeaderSecret, pb.AttrAuthTokenSecret:
			continue
		}
		fmt.Fprintf(&b, " %s=%q", k, m[k])
	}
	return b.String()
}

func (t texter) exec(op *pb.Op, e *pb.ExecOp) string {
	var b strings.Builder
	fmt.Fprintf(&b, "exec %q cwd=%s", e.Meta.Args, e.Meta.Cwd)
	if e.Meta.User != "" {
		fmt.Fprintf(&b, " user=%s", e.Meta.User)
	}
	for _, kv := range e.Meta.Env {
		fmt.Fprintf(&b, " env %q", kv)
	}
	for _, h := range e.Meta.ExtraHosts {
		fmt.Fprintf(&b, " host %s=%s", h.Host, h.IP)
	}
	if e.Network != pb.NetMode_UNSET {
		fmt.Fprintf(&b, " network=%s", strings.ToLower(e.Network.String()))
	}
	if e.Security != pb.SecurityMode_SANDBOX {
		fmt.Fprintf(&b, " security=%s", strings.ToLower(e.Security.String()))
	}
	for _, m := range e.Mounts {
		b.WriteString(" [" + t.mount(op, m) + "]")
	}
	return b.String()
}

func (t texter) mount(op *pb.Op, m *pb.Mount) string {
	s := m.Dest
	switch m.MountType {
	case pb.MountType_BIND, pb.MountType_CACHE:
		s += " = " + t.input(op, m.Input)
	case pb.MountType_SECRET:
		o := m.SecretOpt
		return fmt.Sprintf("%s secret uid=%d gid=%d mode=%#o", s, o.Uid, o.Gid, o.Mode) + flag("optional", o.Optional)
	case pb.MountType_SSH:
		o := m.SSHOpt
		return fmt.Sprintf("%s ssh uid=%d gid=%d mode=%#o", s, o.Uid, o.Gid, o.Mode) + flag("optional", o.Optional)
	case pb.MountType_TMPFS:
		s += " tmpfs"
	}
	if m.Selector != "" {
		s += " from " + m.Selector
	}
	if m.CacheOpt != nil {
		s += fmt.Sprintf(" cache %q %s", m.CacheOpt.ID, strings.ToLower(m.CacheOpt.Sharing.String()))
	}
	if m.Readonly {
		s += " readonly"
	}
	if m.Output >= 0 {
		s += fmt.Sprintf(" out %d", m.Output)
	}
	return s
}

func (t texter) action(op *pb.Op, act *pb.FileAction) string {
	on := " on " + t.input(op, act.Input)
	switch a := act.Action.(type) {
	case *pb.FileAction_Mkdir:
		return fmt.Sprintf("mkdir %s %#o%s%s%s%s", a.Mkdir.Path, a.Mkdir.Mode, flag("parents", a.Mkdir.MakeParents),
			owned(a.Mkdir.Owner), stamp(a.Mkdir.Timestamp), on)
	case *pb.FileAction_Mkfile:
		return fmt.Sprintf("mkfile %s %#o %q%s%s%s", a.Mkfile.Path, a.Mkfile.Mode, a.Mkfile.Data,
			owned(a.Mkfile.Owner), stamp(a.Mkfile.Timestamp), on)
	case *pb.FileAction_Rm:
		return fmt.Sprintf("rm %s%s%s%s", a.Rm.Path, flag("allow-not-found", a.Rm.AllowNotFound),
			flag("allow-wildcard", a.Rm.AllowWildcard), on)
	case *pb.FileAction_Copy:
		return t.copyAction(op, act, a.Copy) + on
	}
	return fmt.Sprintf("%T", act.Action)
}

func (t texter) copyAction(op *pb.Op, act *pb.FileAction, c *pb.FileActionCopy) string {
	return fmt.Sprintf("copy %s of %s to %s", c.Src, t.input(op, act.SecondaryInput), c.Dest) +
		modeText(c) + owned(c.Owner) + stamp(c.Timestamp) + flag("follow-symlinks", c.FollowSymlink) +
		flag("contents-only", c.DirCopyContents) + flag("unpack", c.AttemptUnpackDockerCompatibility) +
		flag("create-dest-path", c.CreateDestPath) + flag("allow-wildcard", c.AllowWildcard) +
		flag(
			"allow-empty-wildcard",
			c.AllowEmptyWildcard,
		) + list("include", c.IncludePatterns) + list("exclude", c.ExcludePatterns)
}

func modeText(c *pb.FileActionCopy) string {
	if c.Mode < 0 {
		return ""
	}
	return fmt.Sprintf(" mode=%#o", c.Mode)
}

func flag(name string, set bool) string {
	if !set {
		return ""
	}
	return " " + name
}

func list(name string, l []string) string {
	if len(l) == 0 {
		return ""
	}
	return fmt.Sprintf(" %s=%q", name, l)
}

func stamp(nanos int64) string {
	if nanos < 0 {
		return ""
	}
	return fmt.Sprintf(" at=%d", nanos)
}

func owned(o *pb.ChownOpt) string {
	if o == nil {
		return ""
	}
	return " owner=" + userText(o.User) + ":" + userText(o.Group)
}

func userText(u *pb.UserOpt) string {
	switch u := u.GetUser().(type) {
	case *pb.UserOpt_ByID:
		return fmt.Sprint(u.ByID)
	case *pb.UserOpt_ByName:
		return u.ByName.Name
	}
	return ""
}

// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"path"
	"strings"

	"github.com/openllb/hlb-operator/hlb/analyze"
	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/cachedir"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// Hint is a text to show behind a place of the source.
type Hint struct {
	At      diag.Position
	Label   string
	Tooltip string
}

// Hints lists what cache mounts between two offsets have by default: the id and the sharing mode.
func (f *File) Hints(start, end int) []Hint {
	var out []Hint
	for _, m := range f.cacheMounts() {
		target := m.args[0]
		if at := target.Span().End; at.Offset < start || at.Offset > end {
			continue
		}
		dir, known := ast.ConstText(target)
		if !known || dir == "" {
			continue
		}
		h := Hint{At: target.Span().End}
		var parts []string
		if !m.option("id") {
			parts = append(parts, "id /"+path.Clean(dir))
			h.Tooltip = "The directory that the daemon keeps under this id, the same as of a Dockerfile's " +
				"`RUN --mount=type=cache,target=" + dir + "`."
		}
		if !m.option("sharing") {
			parts = append(parts, string(cachedir.Default(dir)))
			if advice, ok := cachedir.For(dir); ok {
				h.Tooltip += fmt.Sprintf("\n\n`%s`, since %s ([source](%s)).", advice.Sharing, advice.Reason,
					advice.Source)
			}
		}
		if h.Label = strings.Join(parts, ", "); h.Label != "" {
			h.Tooltip = strings.TrimSpace(h.Tooltip)
			out = append(out, h)
		}
	}
	return out
}

// Lens is what a target may touch, from the source alone.
type Lens struct {
	Span   diag.Span // of the name of the target
	Target analyze.Target
}

// lensFuel bounds the work for one target, about 20 ms.
const lensFuel = 20_000

// Lenses lists the targets of a program that has no errors.
func (f *File) Lenses() []Lens {
	if f.Found.HasErrors() {
		return nil
	}
	targets, errs := analyze.Module(f.Info(), analyze.Options{Fuel: lensFuel})
	if len(errs) > 0 {
		return nil
	}
	var out []Lens
	for _, t := range targets {
		if touches(t) {
			out = append(out, Lens{f.Info().Scope[t.Name].Span, t})
		}
	}
	return out
}

func touches(t analyze.Target) bool {
	return len(t.CacheMounts)+len(t.Images)+len(t.Gits)+len(t.HTTPS)+len(t.Locals)+len(t.Exports) > 0
}

// Title is the lens in a few words. held is nil if no daemon was asked.
func (l Lens) Title(held *Held) string {
	t := l.Target
	var parts []string
	count := func(n int, what string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+what)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, what))
		}
	}
	count(len(t.CacheMounts), "cache mount")
	count(len(t.Images), "image")
	count(len(t.Gits), "repository")
	count(len(t.HTTPS), "download")
	count(len(t.Locals), "local source")
	count(len(t.Exports), "export")
	title := strings.ReplaceAll(strings.Join(parts, ", "), "repositorys", "repositories") + l.heldTitle(held)
	if !t.Complete {
		title += " · and more"
	}
	return title
}

// heldTitle counts what a daemon holds of the mounts and images.
func (l Lens) heldTitle(held *Held) string {
	if held == nil {
		return ""
	}
	var total int64
	var parts []string
	count := func(what string, all, n int) {
		if all > 0 {
			parts = append(parts, fmt.Sprintf("%d of %d %s", n, all, what))
		}
	}
	n := 0
	for _, m := range l.Target.CacheMounts {
		if size, ok := held.mount(m); ok {
			total += size
			n++
		}
	}
	count("mounts", len(l.Target.CacheMounts), n)
	n = 0
	for _, r := range l.Target.Images {
		if size, ok := held.image(r); ok {
			total += size
			n++
		}
	}
	count("images", len(l.Target.Images), n)
	if len(parts) == 0 {
		return ""
	}
	return " · daemon holds " + strings.Join(append(parts, size(total)), ", ")
}

// Details lists what Title counts, a line each.
func (l Lens) Details(held *Held) string {
	var b strings.Builder
	onDaemon := func(bytes int64, ok bool) {
		switch {
		case ok:
			fmt.Fprintf(&b, ", %s on the daemon", size(bytes))
		case held != nil:
			b.WriteString(", not on the daemon")
		}
		b.WriteByte('\n')
	}
	for _, m := range l.Target.CacheMounts {
		fmt.Fprintf(&b, "cache mount %s at %s, %s", m.ID, m.Target, m.Sharing)
		onDaemon(held.mount(m))
	}
	for _, r := range l.Target.Images {
		fmt.Fprintf(&b, "image %s", r.Ref)
		onDaemon(held.image(r))
	}
	for _, g := range l.Target.Gits {
		fmt.Fprintf(&b, "repository %s at %s\n", g.Remote, g.Ref)
	}
	for _, r := range l.Target.HTTPS {
		fmt.Fprintf(&b, "download %s\n", r.Ref)
	}
	for _, r := range l.Target.Locals {
		fmt.Fprintf(&b, "local source %s\n", r.Ref)
	}
	for _, e := range l.Target.Exports {
		fmt.Fprintf(&b, "export %s %s\n", e.By, e.Ref)
	}
	return b.String()
}

// size renders bytes for people, in powers of 1,000.
func size(bytes int64) string {
	const k = 1000
	units := []string{"B", "kB", "MB", "GB", "TB"}
	value, unit := float64(bytes), 0
	for value >= k && unit < len(units)-1 {
		value, unit = value/k, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// generated is a program of about so many lines: functions of ten lines that build on each other, ten in a row, with
// all kinds of statements, and a target that needs them all.
func generated(lines int) []byte {
	var b, all strings.Builder
	b.WriteString("fs f0() {\n\timage \"base\"\n}\n")
	n := 0
	for at := 3; at < lines; at += 12 {
		base := n
		if n%10 == 0 {
			base = 0
		}
		n++
		fmt.Fprintf(&b, `fs f%[1]d() {
	f%[2]d
	env "K%[3]d" "value %[1]d"
	dir "/job/%[3]d"
	run "make step-%[1]d" with option {
		mount scratch "/out" as out%[1]d
		mount scratch "/cache" with cache("id", "shared")
	}
	copy out%[1]d "/" "/got"
	mkfile "/note" 0o644 "step ${string { format "%%s" "%[1]d"; }}"
}
`, n, base, n%20)
		if n%10 == 0 {
			fmt.Fprintf(&all, "\tcopy f%d \"/\" \"/%d\"\n", n, n)
		}
	}
	fmt.Fprintf(&b, "fs default() {\n\tf%d\n%s}\n", n, all.String())
	return []byte(b.String())
}

// cpuTime is the processor time this process has used. On a machine with other work, elapsed time says little.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCompile covers parsing, checking, evaluating and marshalling.
func BenchmarkCompile(b *testing.B) {
	for _, lines := range []int{100, 1000, 10_000, 100_000} {
		src := generated(lines)
		b.Run(fmt.Sprintf("lines=%d", lines), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			start := cpuTime(b)
			for b.Loop() {
				req, errs := Compile(context.Background(), Program{Filename: "build.hlb", Source: src}, Options{})
				if req == nil {
					b.Fatal(errs)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N)/1e6, "cpu-ms/op")
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package hlbtest

import (
	"fmt"
	"strings"
)

// Hostile is a program that a compiler without limits would be taken down by.
type Hostile struct {
	// Name is what it does, as a sentence.
	Name   string
	Source string
	// Code is that of the diagnostic that refuses it, with the limits of a server.
	Code string
}

// HostilePrograms returns a program for each way of taking more than a fair share of memory or time.
func HostilePrograms() []Hostile {
	return []Hostile{
		{"a template has widths as numbers", wideTemplate(), "LIMIT-STRING"},
		{"many functions return a long string each", longStrings(100), "LIMIT-TEXT"},
		{"a list of arguments doubles", doubledArguments(60), "LIMIT-FUEL"},
		{"a list of options doubles", doubledOptions(60), "LIMIT-FUEL"},
		{"a pipeline doubles", doubledPipeline(60), "LIMIT-FUEL"},
		{"a large filesystem is exported many times", manyExports(2000), "LIMIT-SIZE"},
		{"files are larger than BuildKit takes at once", largeFiles(5), "LIMIT-SIZE"},
		{"labels are added to labels", manyLabels(150, 150), "LIMIT-SIZE"},
		{"the id of a cache mount is long", mounted(`big`, 1) + long(4_000_000), "LIMIT-ID"},
		{"cache mounts are many", mounted("", 300), "LIMIT-MOUNTS"},
		{"steps stand on each other", chain(3000), "LIMIT-LAYERS"},
		{"an image config is long for each export", manyConfigs(500), "LIMIT-SIZE"},
	}
}

func long(n int) string { return fmt.Sprintf("string big() { format \"%%%ds\" \"x\" }\n", n) }

func wideTemplate() string {
	return "string x() { template `{{printf .f 1000000 5}}` with option { stringField \"f\" \"" +
		strings.Repeat("%[1]*[2]d", 10_000) + "\" } }\nfs default() { scratch; mkfile \"/a\" 0o644 x }\n"
}

func longStrings(n int) string {
	var b strings.Builder
	b.WriteString("fs default() {\n\tscratch\n")
	for i := range n {
		fmt.Fprintf(&b, "\tmkfile \"/a%d\" 0o644 u(f%d)\n", i, i)
	}
	b.WriteString("}\nstring u(string a) { \"x\" }\n")
	for i := range n {
		fmt.Fprintf(&b, "string f%d() { format \"%%4000000s\" \"%d\" }\n", i, i)
	}
	return b.String()
}

func doubledArguments(n int) string {
	var b strings.Builder
	b.WriteString("fs default() { a0 \"x\" }\n")
	for i := range n {
		fmt.Fprintf(&b, "fs a%d(variadic string xs) { a%d xs xs }\n", i, i+1)
	}
	fmt.Fprintf(&b, "fs a%d(variadic string xs) { scratch }\n", n)
	return b.String()
}

func doubledOptions(n int) string {
	var b strings.Builder
	b.WriteString("option::run m0() { env \"k\" \"v\" }\n")
	for i := range n {
		fmt.Fprintf(&b, "option::run m%d() { o%d m%d }\n", i+1, i, i)
		fmt.Fprintf(&b, "option::run o%d(option::run m) { m; m }\n", i)
	}
	fmt.Fprintf(&b, "fs default() { run \"x\" with m%d }\n", n)
	return b.String()
}

func doubledPipeline(n int) string {
	var b strings.Builder
	b.WriteString("pipeline p0() { stage fs { run \"x\" } }\n")
	for i := range n {
		fmt.Fprintf(&b, "pipeline p%d() { stage p%d; stage p%d }\n", i+1, i, i)
	}
	fmt.Fprintf(&b, "pipeline default() { stage p%d }\n", n)
	return b.String()
}

func manyExports(n int) string {
	var b strings.Builder
	b.WriteString("fs default() {\n\tscratch\n\tmkfile \"/a0\" 0o644 big\n\tmkfile \"/a1\" 0o644 big\n")
	for i := range n {
		fmt.Fprintf(&b, "\tenv \"A\" \"%d\"\n\tdockerPush \"r.example/a:%d\"\n", i, i)
	}
	return b.String() + "}\n" + long(4_000_000)
}

func largeFiles(n int) string {
	var b strings.Builder
	b.WriteString("fs default() {\n\tscratch\n")
	for i := range n {
		fmt.Fprintf(&b, "\tmkfile \"/a%d\" 0o644 big\n", i)
	}
	return b.String() + "}\n" + long(4_000_000)
}

func manyLabels(functions, each int) string {
	var b strings.Builder
	body := strings.Repeat("\tlabel \"k\" \""+strings.Repeat("a", 2000)+"\"\n", each)
	b.WriteString("fs l0() {\n\tscratch\n" + body + "}\n")
	body = strings.Repeat("\tlabel \"k\" v\n", each)
	for i := 1; i <= functions; i++ {
		fmt.Fprintf(&b, "fs l%d() {\n\tl%d\n%s}\n", i, i-1, body)
	}
	fmt.Fprintf(&b, "fs default() { l%d }\nstring v() { format \"%%2000s\" \"\" }\n", functions)
	return b.String()
}

func mounted(id string, n int) string {
	var b strings.Builder
	b.WriteString("fs default() {\n\tscratch\n")
	for i := range n {
		fmt.Fprintf(&b, "\trun \"true\" with option { cacheMount \"/c%d\" with option { %s } }\n", i,
			map[bool]string{true: "id " + id, false: `sharing "locked"`}[id != ""])
	}
	return b.String() + "}\n"
}

func chain(n int) string {
	return "fs default() {\n\tscratch\n" + strings.Repeat("\trun \"true\"\n", n) + "}\n"
}

func manyConfigs(n int) string {
	var b strings.Builder
	b.WriteString("fs default() {\n\tscratch\n\tmkfile \"/a\" 0o644 \"\"\n\tlabel \"k\" big\n")
	for i := range n {
		fmt.Fprintf(&b, "\tlabel \"n\" \"%d\"\n\tdockerPush \"r.example/a:%d\"\n", i, i)
	}
	return b.String() + "}\n" + long(100_000)
}

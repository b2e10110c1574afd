// SPDX-License-Identifier: Apache-2.0

// Package compiletest compiles in child processes of a test's own program, as the agent does in those of its own.
package compiletest

import (
	"os"
	"testing"

	"github.com/openllb/hlb-operator/agent/compile"
	"github.com/openllb/hlb-operator/agent/compile/child"
)

// Main is for TestMain of a package whose tests compile: it makes the test's program a child where it is started as
// one.
func Main(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == child.Command {
		os.Exit(child.Main(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// New makes a compiler that ends with the test. The package must have Main.
func New(t testing.TB) *compile.Compiler {
	t.Helper()
	c := compile.New([]string{os.Args[0], child.Command}, compile.DefaultLimits())
	t.Cleanup(c.Close)
	return c
}

// SPDX-License-Identifier: Apache-2.0

package cachedir

import (
	"strings"
	"testing"
)

func TestFor(t *testing.T) {
	for name, tc := range map[string]struct {
		target string
		tool   string
		mode   Sharing
	}{
		"apt's lists need a lock":                    {"/var/lib/apt", "apt", Locked},
		"so does a directory below":                  {"/var/cache/apt/archives", "apt", Locked},
		"a target is cleaned":                        {"/var/cache//apt/", "apt", Locked},
		"a longer name is another directory":         {"/var/lib/aptitude", "", Shared},
		"Go's build cache may be shared":             {"/root/.cache/go-build", "Go", Shared},
		"in any home":                                {"/home/me/.cache/go-build", "Go", Shared},
		"but not outside of homes":                   {"/srv/.cache/go-build", "", Shared},
		"a home of its own is no tool's":             {"/home/me", "", Shared},
		"sccache wants the directory for itself":     {"/root/.cache/sccache", "sccache", Private},
		"Maven's repository needs a lock":            {"/root/.m2/repository", "Maven", Locked},
		"Cargo's packages alone lack its lock":       {"/usr/local/cargo/registry", "Cargo's packages", Locked},
		"its home has it":                            {"/root/.cargo", "Cargo", Shared},
		"NuGet's locks are elsewhere":                {"/root/.nuget/packages", "NuGet", Locked},
		"Yarn 1 and its successor differ":            {"/root/.yarn/berry/cache", "Yarn", Shared},
		"a directory nobody knows is BuildKit's way": {"/cache", "", Shared},
	} {
		t.Run(name, func(t *testing.T) {
			a, ok := For(tc.target)
			if a.Tool != tc.tool || ok != (tc.tool != "") {
				t.Errorf("For(%q) = %q, %v; want %q", tc.target, a.Tool, ok, tc.tool)
			}
			if got := Default(tc.target); got != tc.mode {
				t.Errorf("Default(%q) = %s, want %s", tc.target, got, tc.mode)
			}
		})
	}
}

func TestSafe(t *testing.T) {
	apt, _ := For("/var/lib/apt")
	if apt.Safe(Shared) || !apt.Safe(Locked) || !apt.Safe(Private) {
		t.Error("apt is safe with anything but shared")
	}
	golang, _ := For("/go/pkg/mod")
	if !golang.Safe(Shared) || !golang.Safe(Locked) {
		t.Error("Go is safe with everything")
	}
}

func TestEveryEntrySaysWhyAndWhere(t *testing.T) {
	for _, a := range table {
		if a.Tool == "" || a.Reason == "" || !strings.HasPrefix(a.Source, "https://") || len(a.dirs) == 0 {
			t.Errorf("incomplete entry: %+v", a)
		}
	}
}

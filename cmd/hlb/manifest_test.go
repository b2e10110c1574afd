// SPDX-License-Identifier: Apache-2.0

//go:build integration

package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

func TestManifestsAreLookedUpUnlessOffline(t *testing.T) {
	daemon := buildkittest.Start(t, buildkittest.Options{})
	program := fmt.Sprintf("string looked() { manifest %q; }\nfs default() { scratch; mkfile \"/m\" 0o644 looked; }\n",
		buildkittest.StartRegistry(t).Busybox())
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"compiled": {[]string{"compile", "--addr", "unix://" + daemon.Socket, "-"}, 0, "mkfile"},
		"run": {
			[]string{"run", "--progress", "plain", "--addr", "unix://" + daemon.Socket, "-"}, 0, "mkfile",
		},
		"compiled offline": {[]string{"compile", "--offline", "-"}, 1, "NEEDS-DAEMON"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), tc.args, strings.NewReader(program), &out, &errs)
			if code != tc.code || !strings.Contains(out.String()+errs.String(), tc.want) {
				t.Errorf("exit code %d, want %d and %q in\n%s%s", code, tc.code, tc.want, out.String(), errs.String())
			}
		})
	}
}

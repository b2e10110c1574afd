// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"strings"
	"testing"
)

// TestProblems: what HLB lacks is named by its line, and the rest converted.
func TestProblems(t *testing.T) {
	cases := map[string]struct {
		dockerfile string
		opts       Options
		want       []string
	}{
		"a health check": {
			"FROM x\n" +
				"\n" +
				"HEALTHCHECK CMD a\n",
			Options{}, []string{"line 3: HEALTHCHECK CMD a: HLB has no health checks"},
		},
		"ONBUILD": {
			"FROM x\n" +
				"ONBUILD RUN a\n",
			Options{}, []string{"line 2: ONBUILD RUN a: HLB has no ONBUILD"},
		},
		"a secret variable": {
			"FROM x\n" +
				"RUN --mount=type=secret,id=a,env=A b\n",
			Options{}, []string{"line 2: --mount=type=secret,env=A: a secret is a file"},
		},
		"the size of memory": {
			"FROM x\n" +
				"RUN --mount=type=tmpfs,target=/t,size=1m a\n",
			Options{}, []string{"line 2: --mount=type=tmpfs,size=: a tmpfs has no size"},
		},
		"a device": {
			"FROM x\n" +
				"RUN --device=a/b=c d\n",
			Options{}, []string{"line 2: --device=a/b=c: HLB has no devices"},
		},
		"a symbolic mode": {
			"FROM x\n" +
				"COPY --chmod=u+x a b\n",
			Options{}, []string{"line 2: --chmod=u+x: a mode is a number"},
		},
		"parents of a file": {
			"FROM x\n" +
				"COPY --parents a/b /c/\n",
			Options{}, []string{"line 2: --parents a/b: a pattern of HLB may match nothing"},
		},
		"a variant": {
			"FROM --platform=linux/arm/v7 x\n",
			Options{}, []string{"line 1: --platform=linux/arm/v7: a platform has"},
		},
		"a part of a repository": {"FROM x\nADD https://h/r.git#v1:d /d\n", Options{},
			[]string{"line 2: ADD https://h/r.git: git has no words for a directory"}},
		"a mount in a read-only one": {
			"FROM x\n" +
				"RUN --mount=target=/a --mount=type=cache,target=/a/b c\n",
			Options{},
			[]string{"line 2: target=/a/b: a mount below a read-only one"},
		},
		"the time of a directory": {
			"FROM x\n" +
				"WORKDIR /a\n",
			Options{BuildArgs: map[string]string{"SOURCE_DATE_EPOCH": "1"}},
			[]string{"line 2: WORKDIR /a: with SOURCE_DATE_EPOCH"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			with := plainImages()
			tc.opts.Config, tc.opts.Platform = with.load, &amd64
			res, err := Convert(t.Context(), []byte(tc.dockerfile), tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			compiled(t, res.Program, with, tc.opts)
			wantProblems(t, res, tc.want)
		})
	}
}

func wantProblems(t *testing.T, res *Result, want []string) {
	t.Helper()
	if len(res.Problems) != len(want) {
		t.Fatalf("got %v, want %q", res.Problems, want)
	}
	for i, p := range res.Problems {
		if !strings.HasPrefix(p.String(), want[i]) {
			t.Errorf("got %q, want %q", p, want[i])
		}
		if !strings.Contains(string(res.Program), "# NOT CONVERTED: "+p.String()) {
			t.Errorf("the program does not say %q", p)
		}
	}
}

// TestOffline: without images, what depends on them is named.
func TestOffline(t *testing.T) {
	const dockerfile = "FROM x\nENV PATH=/o:$PATH\nWORKDIR a\nRUN --mount=target=b c\nCOPY --link d e\n"
	res, err := Convert(t.Context(), []byte(dockerfile), Options{Platform: &amd64})
	if err != nil {
		t.Fatal(err)
	}
	wantProblems(t, res, []string{
		"line 2: /o:$PATH: $PATH may be set by the base image",
		"line 4: --mount=type=bind: the target is relative",
		"line 5: e: --link to a path relative",
	})
	convertEqual(t, "FROM x\nWORKDIR /a\nENV A=b\nCOPY . .\nRUN c$A\nENTRYPOINT d\n", plainImages(), Options{})
}

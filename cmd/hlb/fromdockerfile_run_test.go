// SPDX-License-Identifier: Apache-2.0

//go:build integration

package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// TestConvertedDockerfilesBuild: a converted Dockerfile builds, with what its base image sets.
func TestConvertedDockerfilesBuild(t *testing.T) {
	daemon := buildkittest.Start(t, buildkittest.Options{})
	base := buildkittest.StartRegistry(t).Busybox()
	dockerfile := fmt.Sprintf(`ARG BASE=%s
FROM ${BASE} AS build
ENV PATH=/opt/bin:$PATH
WORKDIR /src
COPY --chmod=755 in.sh ./
ARG GREETING=hello
RUN --mount=type=cache,target=/cache --mount=type=secret,id=missing ./in.sh > out && echo "$PATH" >> out
FROM scratch
COPY --from=build /src/out /
`, base)
	t.Setenv("BUILDKIT_HOST", "unix://"+daemon.Socket)
	inFiles(t, map[string]string{"Dockerfile": dockerfile, "in.sh": "#!/bin/sh\necho \"$GREETING\"\n"})
	for _, args := range [][]string{
		{"from-dockerfile", "-o", "build.hlb"}, {"run", "--progress", "plain", "-o", "out"},
	} {
		if code, stdout, stderr := hlbHere(t, args...); code != 0 {
			t.Fatalf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
	got, err := os.ReadFile("out/out")
	if want := "hello\n/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"; string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

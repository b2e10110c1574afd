// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// TestEqual: Dockerfiles convert to the LLB that BuildKit makes of them.
func TestEqual(t *testing.T) {
	secretive := plainImages()
	secretive.config.User, secretive.config.WorkingDir = "app:app", "/home/app"
	secretive.config.Shell = []string{"/bin/bash", "-c"}
	bare := plainImages()
	bare.config.Env = nil
	triggering := plainImages()
	triggering.config.OnBuild = []string{"COPY . /app", "RUN make -C /app"}
	cases := map[string]struct {
		dockerfile string
		with       images
		opts       Options
	}{
		"a user, a directory and a shell of the base image": {
			"FROM x\nWORKDIR src\nCOPY a b/\nRUN make\nCOPY --link c d\n", secretive, Options{},
		},
		"a base image without PATH": {"FROM x\nENV PATH=/o:$PATH\nRUN a\n", bare, Options{}},
		"nothing but commands": {
			"FROM scratch\n" +
				"RUN [\"/a\"]\n" +
				"RUN [\"/a\", \"b c\"]\n" +
				"RUN [\"/it's\"]\n",
			bare, Options{},
		},
		"ONBUILD of an image": {"FROM x\nRUN a\n", triggering, Options{}},
		"ONBUILD of a stage":  {"FROM x AS b\nONBUILD RUN a\nFROM b\nRUN b\n", plainImages(), Options{}},
		"ARG before ENV and after": {
			"FROM x\n" +
				"ARG A=1\n" +
				"ENV B=2$A A=3\n" +
				"RUN a\n" +
				"ARG A=4\n" +
				"RUN b\n",
			plainImages(), Options{},
		},
		"ARG without a value": {"FROM x\nARG A\nRUN a\nENV C=${A:-d}\nRUN b\n", plainImages(), Options{}},
		"given build arguments": {
			"ARG V=1\n" +
				"FROM x:$V\n" +
				"ARG V\n" +
				"ARG W\n" +
				"RUN a\n",
			plainImages(), Options{BuildArgs: map[string]string{"V": "2", "W": "`\"${\\"}},
		},
		"one ARG with two values": {
			"FROM x AS a\n" +
				"ARG V=1\n" +
				"RUN a\n" +
				"FROM x\n" +
				"ARG V=2\n" +
				"COPY --from=a /a/$V /b\n" +
				"RUN b\n",
			plainImages(), Options{},
		},
		"parts of a value": {
			"FROM x\n" +
				"ARG V=1.2.3\n" +
				"ENV A=${V%.*} B=${V#*.} C=${V:+set} D=\"$V-x\"\n" +
				"RUN a\n",
			plainImages(), Options{},
		},
		"platforms": {
			"FROM --platform=linux/arm64 x AS a\n" +
				"ARG TARGETARCH\n" +
				"RUN a\n" +
				"FROM x\n" +
				"COPY --from=a /a /b\n",
			plainImages(), Options{},
		},
		"a target": {
			"FROM x AS a\n" +
				"RUN a\n" +
				"FROM x\n" +
				"RUN b\n",
			plainImages(), Options{Target: "a"},
		},
		"stages called like builtins": {
			"FROM x AS image\n" +
				"RUN a\n" +
				"FROM x AS base\n" +
				"RUN a\n" +
				"FROM image AS run\n" +
				"RUN --mount=type=cache,target=/c,from=base b\n",
			plainImages(), Options{},
		},
		"a stage by its number": {"FROM x\nRUN a\nFROM x\nCOPY --from=0 /a /b\n", plainImages(), Options{}},
		"files of an image": {
			"FROM x\n" +
				"COPY --from=y:1 --chown=a:1 --chmod=640 /a /b\n",
			plainImages(), Options{},
		},
		"several sources": {
			"FROM x\n" +
				"WORKDIR /w\n" +
				"COPY a b* ./c .\n" +
				"ADD --exclude=*.md d e.tar /f/\n",
			plainImages(), Options{},
		},
		"sources of the network": {
			"FROM x\n" +
				"ADD https://h/a/f.tar.gz https://h/ /d/\n" +
				"ADD --unpack=true --checksum=sha256:" + strings.Repeat("0", 64) + " https://h/g /d/\n" +
				"ADD --keep-git-dir=true https://h/r.git#v1 /r\n" +
				"ADD https://h/q.git /q\n",
			plainImages(), Options{},
		},
		"linked copies": {
			"FROM x\n" +
				"WORKDIR /w\n" +
				"ARG D=d\n" +
				"COPY --link --chown=1:2 a $D/\n" +
				"ADD --link --unpack=false b ./\n" +
				"COPY --link --chmod=600 c d\n",
			plainImages(), Options{},
		},
		"patterns of parents": {
			"FROM x\n" +
				"COPY --parents a/**/*.go ./b/./c/* /d/\n",
			plainImages(), Options{},
		},
		"bind mounts": {
			"FROM x AS s\n" +
				"FROM x\n" +
				"WORKDIR /w\n" +
				"RUN --mount=target=/a --mount=from=s,source=d,target=b,rw --mount=type=bind,from=y,target=/c a\n",
			plainImages(), Options{},
		},
		"cache mounts": {
			"FROM x AS s\n" +
				"FROM x\n" +
				"WORKDIR /w\n" +
				"RUN --mount=type=cache,target=/root/.cache/go-build " +
				"--mount=type=cache,target=c,id=i,sharing=locked " +
				"--mount=type=cache,target=/d,uid=1,mode=700 " +
				"--mount=type=cache,target=/e,from=s,source=/f,ro --mount=type=cache,target=/var/cache/apt a\n",
			plainImages(), Options{},
		},
		"secrets, agents and memory": {
			"FROM x\n" +
				"RUN --mount=type=secret,id=token " +
				"--mount=type=secret,id=mysecret,target=/s,uid=1,gid=2,mode=440,required --mount=type=ssh " +
				"--mount=type=ssh,id=token,target=/a,mode=666,required --mount=type=tmpfs,target=/t a\n",
			plainImages(), Options{},
		},
		"networks and security": {
			"FROM x\n" +
				"RUN --network=none a\n" +
				"RUN --network=host b\n" +
				"RUN --security=insecure c\n",
			plainImages(), Options{},
		},
		"scripts": {
			"FROM x\n" +
				"RUN <<EOF\n" +
				"echo `a` \"b\" ${c}\n" +
				"EOF\n" +
				"RUN <<-'EOF' cat\n" +
				"\ta\n" +
				"\tEOF\n" +
				"RUN <<EOF\n" +
				"#!/bin/x\n" +
				"y\n" +
				"EOF\n",
			plainImages(), Options{},
		},
		"files in the Dockerfile": {
			"FROM x\n" +
				"ARG A=b\n" +
				"COPY --chmod=600 <<EOF <<\"B\" /d/\n" +
				"$A \"`\\\n" +
				"EOF\n" +
				"$A ${A}\n" +
				"B\n",
			plainImages(), Options{},
		},
		"another escape": {"# escape=`\nFROM x\nRUN a `\n b\nENV A=c` d\nRUN e\n", plainImages(), Options{}},
		"a working directory of an ARG": {
			"FROM x\n" +
				"ARG D=e/../f\n" +
				"WORKDIR $D/.\n" +
				"COPY a .\n" +
				"USER u$D\n" +
				"WORKDIR g\n" +
				"WORKDIR /\n" +
				"RUN a\n",
			plainImages(), Options{},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.opts.Config = tc.with.load
			if res := convertEqual(t, tc.dockerfile, tc.with, tc.opts); len(res.Problems) > 0 {
				t.Error(res.Problems)
			}
		})
	}
}

// TestProgram: programs look as if a person had written them.
func TestProgram(t *testing.T) {
	const dockerfile = `# syntax=docker/dockerfile:1
ARG GO=1.26

# Builds the program.
FROM golang:${GO} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
ARG VERSION=dev
# Tests are another target.
RUN --mount=target=. --mount=type=cache,target=/root/.cache/go-build go build -ldflags "-X v=$VERSION" -o /out/app .

FROM scratch
COPY --from=build /out/app /app
EXPOSE 80-81 53/udp
LABEL version=1
ENTRYPOINT ["/app"]
`
	const want = "string GO() {\n\t\"1.26\"\n}\n\n" + `string VERSION() {
	"dev"
}

# The build context.
fs context() {
	local "." with excludePatterns(".git", "!x")
}

# WORKDIR makes the directory.
fs workdir(string path) {
	mkdir path 0o755 with createParents
	dir path
}

# COPY copies what is in a directory, and makes the destination.
option::copy likeCOPY() {
	followSymlinks
	contentsOnly
	createDestPath
	allowWildcard
	allowEmptyWildcard
}

# Builds the program.
fs build() {
	image "golang:${GO}"
	workdir "/src"
	copy context "go.mod" "./" with likeCOPY
	copy context "go.sum" "./" with likeCOPY
	run "go mod download" with cacheMount("/go/pkg/mod")
	# Tests are another target.
` + "	run `go build -ldflags \"-X v=$VERSION\" -o /out/app .` with option {" + `
		env "VERSION" VERSION
		mount context "/src" with readonly
		cacheMount "/root/.cache/go-build"
	}
}

fs default() {
	scratch
	copy build "/out/app" "/app" with likeCOPY
	expose "53/udp" "80" "81"
	label "version" "1"
	entrypoint "/app"
}
`
	with := plainImages()
	res, err := Convert(t.Context(), []byte(dockerfile),
		Options{Platform: &amd64, Config: with.load, Ignore: []string{".git", "!x"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(res.Program)); diff != "" {
		t.Error(diff)
	}
	info, found := lint.Program("build.hlb", res.Program, syntax.Limits{})
	if found = append(found, lint.Advise(info, lint.Options{})...); len(found) > 0 {
		t.Error(found)
	}
}

// FuzzConvert: whatever the Dockerfile, what comes out is an error or a program.
func FuzzConvert(f *testing.F) {
	f.Add("FROM x AS a\nARG A=1\nRUN --mount=type=cache,target=/c <<EOF\n$A\nEOF\nFROM a\nCOPY --from=a . .\n")
	f.Add("FROM scratch\nENV A=${B:-c} \"D\"='e'\nADD --chmod=1 http://x/y z\n")
	f.Fuzz(func(t *testing.T, dockerfile string) {
		res, err := Convert(t.Context(), []byte(dockerfile), Options{Platform: &amd64})
		if err != nil {
			if strings.Contains(err.Error(), "a defect") {
				t.Fatalf("%v\n%s", err, dockerfile)
			}
			return
		}
		if _, found := lint.Program("build.hlb", res.Program, syntax.Limits{}); found.HasErrors() {
			t.Errorf("%v\n%s\n%s", found, dockerfile, res.Program)
		}
	})
}

// TestImagesOfSeveralStages has BuildKit ask for many configs at a time.
func TestImagesOfSeveralStages(t *testing.T) {
	var src strings.Builder
	var loads atomic.Int32
	for i := range 200 {
		fmt.Fprintf(&src, "FROM image%d\n", i%100)
	}
	_, err := Convert(t.Context(), []byte(src.String()), Options{
		Config: func(_ context.Context, _ string, p ocispecs.Platform) ([]byte, error) {
			loads.Add(1)
			return fmt.Appendf(nil, `{"os":%q,"architecture":%q,"rootfs":{"type":"layers","diff_ids":[]}}`, p.OS,
				p.Architecture), nil
		},
	})
	if err != nil || loads.Load() != 100 {
		t.Errorf("%d configs were loaded, want each once: %v", loads.Load(), err)
	}
}

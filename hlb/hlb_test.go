// SPDX-License-Identifier: Apache-2.0

package hlb_test

import (
	"context"
	"fmt"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/request"
)

func ExampleCompile() {
	program := hlb.Program{Filename: "build.hlb", Source: []byte(`
fs default(string version) {
	image "golang:${version}"
	run "go build ./..." with option {
		dir "/s"
		mount git("https://example.com/app.git", "main") "/s"
		cacheMount "/c"
	}
	dockerPush "registry.example/app"
}
`)}
	req, errs := hlb.Compile(context.Background(), program, hlb.Options{
		Profile:  hlb.ProfileServer,
		Platform: &ocispecs.Platform{OS: "linux", Architecture: "amd64"},
		Args:     map[string]string{"version": "1.26"},
	})
	if len(errs) > 0 {
		fmt.Println(errs)
		return
	}
	fmt.Println(req.Root)
	fmt.Println(req.CacheMounts[0].ID, req.CacheMounts[0].Sharing)
	fmt.Print(request.Text(req.Targets[0].Final.Definition))
	// Output:
	// parallel(export image registry.example/app, single)
	// //c shared
	// 1: source docker-image://docker.io/library/golang:1.26
	// 2: source git://example.com/app.git#main git.fullurl="https://example.com/app.git"
	// 3: exec ["/bin/sh" "-c" "go build ./..."] cwd=/s [/ = %1 out 0] [/c = scratch cache "//c" shared] [/s = %2]
	// result %3
}

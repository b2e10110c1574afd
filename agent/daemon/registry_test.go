// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

func TestTheManifestBuiltinAsksTheRegistry(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartAuthRegistry(t, "me", "s3cret")
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))
	auth := base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
	credentials := [][]byte{fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, registry.Address, auth)}
	plain := []v1alpha1.RegistryHost{{Host: registry.Address, Scheme: "HTTP"}}
	pushed := inline("fs default() {\n\tscratch\n\tmkfile \"/a\" 0o644 \"a\"\n}\n")
	pushed.Inputs.Registries = credentials
	pushed.Spec.Outputs = []v1alpha1.OutputSpec{{Name: "app", Target: "default", Image: registry.Ref("app:1")}}
	image := build(t, d, pushed).Outputs[0]

	program := func(host string) string {
		return fmt.Sprintf(`string looked() {
	manifest %q
}

fs default() {
	scratch
	mkfile "/manifest" 0o644 looked
}
`, host+"/app:1")
	}
	for name, tc := range map[string]struct {
		host        string
		credentials [][]byte
		registries  []v1alpha1.RegistryHost
		ok          bool
		wantMessage string
	}{
		"with credentials":    {registry.Address, credentials, plain, true, ""},
		"without credentials": {registry.Address, nil, plain, false, "app"},
		"over http, which the BuildCache does not allow": {
			registry.Address, credentials, nil, false, "spec.buildkit.registries",
		},
		"through a mirror": {"registry.example.com", credentials, append([]v1alpha1.RegistryHost{
			{Host: "registry.example.com", Scheme: "HTTPS", Mirrors: []string{registry.Address}},
		}, plain...), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			job := inline(program(tc.host))
			job.Inputs.Registries, job.Registries = tc.credentials, tc.registries
			job.Spec.Outputs = []v1alpha1.OutputSpec{{
				Name: "app", Target: "default", Image: registry.Ref("looked-up:1"),
			}}
			if !tc.ok {
				job.Spec.Outputs = nil
			}
			out, err := d.Build(t.Context(), job)
			var refused *daemon.CompileError
			if !tc.ok && (!errors.As(err, &refused) || !strings.Contains(err.Error(), tc.wantMessage)) {
				t.Fatalf("got %v, want a diagnostic with %q", err, tc.wantMessage)
			}
			if tc.ok && (err != nil || len(out.Outputs) != 1 || out.Outputs[0].Digest == image.Digest) {
				t.Fatalf("got %+v, %v", out, err)
			}
		})
	}
}

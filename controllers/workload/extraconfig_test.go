// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

func TestWithExtra(t *testing.T) {
	const generated = "root = '/own'\n[worker.oci]\ngc = true\nenabled = true\n"
	cases := map[string]struct {
		extra   string
		want    map[string]string // by path
		wantErr string
	}{
		"nothing extra leaves the generated text": {"  \n", map[string]string{"root": "/own"}, ""},
		"a new table is added": {
			"[dns]\nnameservers = ['10.0.0.1']", map[string]string{"dns.nameservers": "[10.0.0.1]", "root": "/own"}, "",
		},
		"what the operator sets wins": {
			"root = '/mine'\n[worker.oci]\nenabled = false\nrootless = true",
			map[string]string{"root": "/own", "worker.oci.enabled": "true", "worker.oci.rootless": "true"}, "",
		},
		"a switch of garbage collection is refused": {"[worker.oci]\ngc = false", nil, "sets worker.oci.gc"},
		"a policy of it too": {
			"[[worker.oci.gcpolicy]]\nkeepBytes = 1", nil, "sets worker.oci.gcpolicy",
		},
		"a size of it too": {
			"[worker.containerd]\nmaxUsedSpace = '1GB'", nil, "sets worker.containerd.maxUsedSpace",
		},
		"what is no TOML is refused": {"[", nil, "not TOML"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := withExtra(generated, tc.extra)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error is %v, want one with %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			table := map[string]any{}
			if err := toml.Unmarshal([]byte(got), &table); err != nil {
				t.Fatal(err)
			}
			for path, want := range tc.want {
				if v := lookUp(table, path); v != want {
					t.Errorf("%s is %s, want %s", path, v, want)
				}
			}
			again, err := withExtra(generated, tc.extra)
			if err != nil || again != got {
				t.Errorf("a second rendering differs: %q, %v", again, err)
			}
		})
	}
}

// lookUp prints the value at a dotted path.
func lookUp(table map[string]any, path string) string {
	var at any = table
	for _, key := range strings.Split(path, ".") {
		inner, ok := at.(map[string]any)
		if !ok {
			return "nothing"
		}
		at = inner[key]
	}
	return fmt.Sprint(at)
}

// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/openllb/hlb-operator/hack/cluster/localcluster"
	"github.com/openllb/hlb-operator/hack/toolchain"
)

// TestTheOverlayIsAKustomization renders what Install applies.
func TestTheOverlayIsAKustomization(t *testing.T) {
	chain, err := toolchain.New(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	programs, err := chain.Dir(t.Context(), toolchain.Kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		recorded   bool
		args       []string
		claims     []string
		wantVolume bool
	}{
		"the images alone": {args: []string{"--buildkit-image=r/buildkit@sha256:2"}},
		"images and a recording": {
			recorded: true,
			args: []string{"--buildkit-image=r/buildkit@sha256:2", "--record-dir=/recording/RUN/$(POD_NAME)",
				"--record-limit-bytes=2147483648"},
			claims: []string{"recording"}, wantVolume: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Cluster{
				Local:  &localcluster.Cluster{Dir: t.TempDir()},
				Images: map[string]string{"operator": "r/operator@sha256:1", "buildkit": "r/buildkit@sha256:2"},
			}
			if tc.recorded {
				if err := c.RecordPlacement(); err != nil {
					t.Fatal(err)
				}
				tc.args[1] = strings.Replace(tc.args[1], "RUN", c.recording.run, 1)
			}
			rendered := render(t, filepath.Join(programs, "kubectl"), chain.Root, c)
			pod := rendered.manager.Spec.Template.Spec
			if diff := cmp.Diff(tc.args, pod.Containers[0].Args); diff != "" {
				t.Errorf("the manager's arguments differ (-want +got):\n%s", diff)
			}
			if got := pod.Containers[0].Image; got != "r/operator@sha256:1" {
				t.Errorf("the manager's image is %s", got)
			}
			var claims []string
			for _, v := range pod.Volumes {
				claims = append(claims, v.PersistentVolumeClaim.ClaimName)
			}
			if diff := cmp.Diff(tc.claims, claims); diff != "" {
				t.Errorf("the manager's claims differ (-want +got):\n%s", diff)
			}
			if got := rendered.volume != nil && rendered.volume.Spec.HostPath.Path == c.recording.root &&
				rendered.volume.Spec.ClaimRef.Namespace == SystemNamespace; got != tc.wantVolume {
				t.Errorf("the volume is %+v, want one: %v", rendered.volume, tc.wantVolume)
			}
		})
	}
}

// rendered is what the test looks at.
type rendered struct {
	manager *appsv1.Deployment
	volume  *corev1.PersistentVolume
}

// render renders the overlay over config/default.
func render(t *testing.T, kubectl, root string, c *Cluster) (out rendered) {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(root, "bin"), "overlay-") // kustomize takes relative paths alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Rel(dir, filepath.Join(root, "config", "default"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range c.overlayFiles(base) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), kubectl, "kustomize", dir)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for object := range strings.SplitSeq(string(text), "\n---\n") {
		switch {
		case strings.Contains(object, "\nkind: Deployment\n"):
			out.manager = &appsv1.Deployment{}
			err = yaml.UnmarshalStrict([]byte(object), out.manager)
		case strings.Contains(object, "\nkind: PersistentVolume\n"):
			out.volume = &corev1.PersistentVolume{}
			err = yaml.UnmarshalStrict([]byte(object), out.volume)
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, object)
		}
	}
	return out
}

// TestARecordingIsKeptForOneInstallation has an earlier installation leave a recording behind.
func TestARecordingIsKeptForOneInstallation(t *testing.T) {
	c := &Cluster{Local: &localcluster.Cluster{Dir: t.TempDir()}}
	if err := c.RecordPlacement(); err != nil {
		t.Fatal(err)
	}
	earlier := filepath.Join(c.recording.root, "earlier", "pod")
	if err := os.MkdirAll(earlier, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.recording.removeOthers(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(earlier); !os.IsNotExist(err) {
		t.Errorf("the earlier recording is there (%v)", err)
	}
	info, err := os.Stat(c.recording.dir())
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Fatalf("the folder is %v (%v), want one for everybody", info, err)
	}
	file := filepath.Join(c.recording.dir(), "00000000.jsonl.gz")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Duration]bool{-time.Minute: true, time.Minute: false} {
		if got, err := c.recording.isWrittenSince(time.Now().Add(at)); err != nil || got != want {
			t.Errorf("written since %s: %v (%v), want %v", at, got, err, want)
		}
	}
}

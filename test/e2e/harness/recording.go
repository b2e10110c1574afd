// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/fleet/record"
)

// recording is a folder of this machine in which the managers of one installation record what placement observes and
// decides. Every node of the local cluster sees this machine's files, so it outlives pods and nodes. The managers'
// namespace is restricted, which allows no host paths, hence the volume.
type recording struct {
	root string // the volume
	run  string // the folder of this installation in it; each pod of a manager has a folder there
}

// recordingLimit is how much each manager may record. A run of all tests takes a hundredth of it.
const recordingLimit = 2 << 30

// recordingDelay is how long a round may take from its observation until it is on disk.
const recordingDelay = 5 * time.Second

// recordingVolume is the volume and its claim.
const recordingVolume = `apiVersion: v1
kind: PersistentVolume
metadata: {name: hlb-operator-recording}
spec:
  capacity: {storage: 8Gi}
  accessModes: [ReadWriteMany]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  claimRef: {namespace: %[1]s, name: recording}
  hostPath: {path: %[2]q}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {namespace: %[1]s, name: recording}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: ""
  volumeName: hlb-operator-recording
  resources: {requests: {storage: 8Gi}}
`

// recordingPatch mounts the volume in the manager, and appends to a patch of its Deployment.
const recordingPatch = `      - op: add
        path: /spec/template/spec/containers/0/args/-
        value: "--record-dir=/recording/%s/$(POD_NAME)"
      - op: add
        path: /spec/template/spec/containers/0/args/-
        value: "--record-limit-bytes=%d"
      - op: add
        path: /spec/template/spec/containers/0/volumeMounts
        value: [{name: recording, mountPath: /recording}]
      - op: add
        path: /spec/template/spec/volumes
        value: [{name: recording, persistentVolumeClaim: {claimName: recording}}]
`

// RecordPlacement has the managers of later Installs record what placement does, anew for each call. It needs the local
// cluster.
func (c *Cluster) RecordPlacement() error {
	if c.Local == nil {
		return errors.New("only managers of the local cluster can be recorded")
	}
	r := &recording{root: filepath.Join(c.Local.Dir, "recordings"), run: fmt.Sprint(time.Now().Unix())}
	for _, dir := range []string{r.root, r.dir()} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("make a folder for the recording: %w", err)
		}
		if err := os.Chmod(dir, 0o777); err != nil { // the manager is nobody here, whatever the umask
			return fmt.Errorf("make a folder for the recording: %w", err)
		}
	}
	c.recording = r
	return nil
}

func (r *recording) dir() string { return filepath.Join(r.root, r.run) }

// removeOthers removes the recordings of earlier installations, whose managers are gone.
func (r *recording) removeOthers() error {
	entries, err := os.ReadDir(r.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != r.run {
			err = errors.Join(err, os.RemoveAll(filepath.Join(r.root, e.Name())))
		}
	}
	return err
}

// Replay has placement decide once more, waits until that is recorded, and replays what the managers have recorded
// since the Install, as cmd/replay does. It logs what was replayed and what is missing of it. An error is about a
// decision that comes out differently, or a recording that is not there up to now.
func (c *Cluster) Replay(ctx context.Context, daemon client.ObjectKey) error {
	var failed []error
	last := time.Now()
	if err := c.oneMoreRound(ctx, daemon); err != nil {
		failed = append(failed, fmt.Errorf("record one more round of placement: %w", err))
	}
	pods, err := os.ReadDir(c.recording.dir())
	if err != nil {
		return fmt.Errorf("find the recordings: %w", err)
	}
	var to time.Time
	for _, pod := range pods {
		dir := filepath.Join(c.recording.dir(), pod.Name())
		if files, err := record.Files(dir); err == nil && len(files) == 0 {
			c.logf("manager %s has not led, and recorded nothing", pod.Name())
			continue
		}
		p := &record.Player{}
		if err := errors.Join(p.Play(dir), p.Err()); err != nil {
			failed = append(failed, fmt.Errorf("manager %s, recorded in %s: %w", pod.Name(), dir, err))
		}
		c.logf("manager %s: %s", pod.Name(), p.Summary())
		if p.To.After(to) {
			to = p.To
		}
	}
	if to.Before(last) && len(failed) == 0 {
		failed = append(failed, fmt.Errorf("the last round that was replayed is of %s, which is before %s",
			to.Format(time.RFC3339Nano), last.Format(time.RFC3339Nano)))
	}
	return errors.Join(failed...)
}

// oneMoreRound annotates a daemon, which makes a round, and waits until something is recorded.
func (c *Cluster) oneMoreRound(ctx context.Context, daemon client.ObjectKey) error {
	began := time.Now()
	d := &v1alpha1.BuildDaemon{}
	if err := c.Client.Get(ctx, daemon, d); err != nil {
		return err
	}
	before := d.DeepCopy()
	metav1.SetMetaDataAnnotation(&d.ObjectMeta, "e2e.build.openllb.dev/round", began.Format(time.RFC3339Nano))
	if err := c.Client.Patch(ctx, d, client.MergeFrom(before)); err != nil {
		return err
	}
	if err := Eventually(ctx, time.Minute, "a round is recorded", func(context.Context) (bool, error) {
		return c.recording.isWrittenSince(began)
	}); err != nil {
		return err
	}
	time.Sleep(recordingDelay) // what was written may be of a round just before
	return nil
}

// isWrittenSince reports whether a file of the recording was written at or after an instant.
func (r *recording) isWrittenSince(t time.Time) (written bool, err error) {
	err = filepath.WalkDir(r.dir(), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		written = written || err == nil && !info.ModTime().Before(t)
		return err
	})
	return written, err
}

// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/agent/registry"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
)

// Copier is the agent's buildkitd. *daemon.Daemon is one.
type Copier interface {
	// Snapshot copies a mount into an image and pushes it, unless it finds that there is nothing to push.
	Snapshot(ctx context.Context, c *daemon.MountCopy) (res mountcopy.Result, digest string, err error)
	// Prime fills an empty mount from an image.
	Prime(ctx context.Context, c *daemon.MountCopy) (mountcopy.Result, error)
	// Survey finds the mounts that hold nothing.
	Survey(ctx context.Context, program []byte, mounts []daemon.Mount) (empty []daemon.Mount, err error)
	// SetRoot gives a mount's own directory an owner and mode, unless a build has done so.
	SetRoot(ctx context.Context, c *daemon.MountCopy, root mountcopy.Root) (mountcopy.Result, error)
}

// Maker makes snapshots and fills mounts from them, for the daemon of one agent. It is safe for concurrent use.
type Maker struct {
	Daemon string
	Copier Copier
	State  *State
	// ProgramPath is where cmd/mountcopy lies.
	ProgramPath string
	// DockerConfig reads the credentials of a BuildCache's registry, nil for none.
	DockerConfig func(ctx context.Context, cache *v1alpha1.BuildCache) ([]byte, error)
	// LastUsed is when a build last had the mount, zero for never.
	LastUsed func(id string) time.Time
	// Position is where the usage record stands about a mount, for the snapshot's annotations.
	Position func(id string) string
	Now      func() time.Time

	program func() ([]byte, error)
	once    sync.Once

	mu      sync.Mutex
	priming map[string]chan struct{} // closed when the mount's priming has ended
}

// copyOf is a copy of a mount to or from a repository, and the name of that.
func (m *Maker) copyOf(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	p *v1alpha1.MountPolicy,
	id, sharing string,
) (c *daemon.MountCopy, where string, err error) {
	program, err := m.LoadProgram()
	if err != nil {
		return nil, "", err
	}
	where = repositoryOf(p, cache.Spec.Registry)
	if where == "" {
		return nil, "", errors.New(
			"there is no repository: set spec.registry of the BuildCache, or snapshot.repository of the mount",
		)
	}
	config, err := m.DockerConfig(ctx, cache)
	if err != nil {
		return nil, "", err
	}
	repo, err := registry.Open(where, config, cache.Spec.BuildKit.Registries)
	if err != nil {
		return nil, "", err
	}
	return &daemon.MountCopy{ID: id, Sharing: sharing, Repository: repo, Program: program}, where, nil
}

// LoadProgram reads cmd/mountcopy, once.
func (m *Maker) LoadProgram() ([]byte, error) {
	m.once.Do(func() { m.program = sync.OnceValues(func() ([]byte, error) { return os.ReadFile(m.ProgramPath) }) })
	program, err := m.program()
	if err != nil {
		return nil, fmt.Errorf("read the program that copies mounts: %w", err)
	}
	return program, nil
}

// newest is the latest snapshot of a mount of a namespace's programs that fits this machine.
func (m *Maker) newest(
	ctx context.Context,
	repo *registry.Repository,
	namespace, id string,
) (tag string, man registry.Manifest, tags []string, err error) {
	all, err := repo.Tags(ctx)
	if err != nil {
		return "", man, nil, err
	}
	tags = cacheref.MountTags(all, namespace, id)
	for _, tag := range tags {
		man, found, err := repo.Manifest(ctx, tag)
		if err != nil {
			return "", man, tags, err
		}
		a := man.Annotations
		if found && daemon.IsSnapshot(man) && a[annotationMount] == id && a[annotationNamespace] == namespace &&
			a[annotationPlatform] == platform() {
			return tag, man, tags, nil
		}
	}
	return "", registry.Manifest{}, tags, nil
}

func platform() string { return "linux/" + runtime.GOARCH }

func byDigest(repository, digest string) string { return repository + "@" + digest }

// errDisturbed: a build began to use a mount while it was copied.
var errDisturbed = errors.New("a build began to use the mount while it was copied")

// Take makes a snapshot of a mount now and notes what came of it. Entries of mounts that no build has used are not
// known and not taken.
func (m *Maker) Take(ctx context.Context, cache *v1alpha1.BuildCache, id string) (Entry, error) {
	began := m.Now()
	e, known := m.State.Entry(id)
	namespace, written, own := mountpolicy.Written(cache.ServedNamespaces(), id)
	p := mountpolicy.For(cache.Spec.Mounts, written)
	if !known || !own || p == nil || p.Snapshot == nil {
		return e, nil
	}
	changed := e
	outcome, err := m.take(ctx, cache, p, subject{namespace, written, id}, &changed)
	changed.Outcome, changed.Message = outcome, ""
	if err != nil {
		changed.Message = err.Error()
	}
	changed.Tried, changed.Took = began.UTC(), m.Now().Sub(began)
	changed.putOff(errors.Is(err, errDisturbed) || errors.Is(err, daemon.ErrNotReached))
	changed.Failures = 0
	if outcome == v1alpha1.SnapshotFailed {
		changed.Failures = e.Failures + 1
	}
	err = m.State.note(id, func(e *Entry) {
		e.Outcome, e.Message, e.Tried, e.Took = changed.Outcome, changed.Message, changed.Tried, changed.Took
		e.Deferred, e.Overdue, e.Disturbed = changed.Deferred, changed.Overdue, changed.Disturbed
		e.Failures = changed.Failures
		e.Ref, e.Digest, e.Bytes, e.SnapshotUse = changed.Ref, changed.Digest, changed.Bytes, changed.SnapshotUse
		e.Omitted = changed.Omitted
		e.Requested = e.Requested && outcome == v1alpha1.SnapshotDeferred
	})
	return changed, err
}

// putOff notes for how long tries have been put off, given the last one.
func (e *Entry) putOff(disturbed bool) {
	if e.Outcome != v1alpha1.SnapshotDeferred {
		e.Deferred, e.Overdue, e.Disturbed = time.Time{}, false, false
		return
	}
	if e.Deferred.IsZero() {
		e.Deferred = e.Tried
	}
	e.Disturbed = disturbed
	if e.Overdue = e.Tried.Sub(e.Deferred) >= overdueAfter; e.Overdue {
		e.Message += "; put off since " + e.Deferred.Format(time.RFC3339)
	}
}

// subject is a mount: by the namespace and id of the programs that have it, and by the id that BuildKit knows.
type subject struct{ namespace, written, id string }

// take decides, copies and cleans up; e gets what is new about the newest snapshot. An error with Pushed is about the
// clean-up.
func (m *Maker) take(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	p *v1alpha1.MountPolicy,
	s subject,
	e *Entry,
) (v1alpha1.SnapshotOutcome, error) {
	quiet, begun := m.State.quiet(s.id)
	switch {
	case !quiet:
		return v1alpha1.SnapshotDeferred, m.State.whyNotQuiet(s.id)
	case e.Outcome == v1alpha1.SnapshotEmpty && e.SnapshotUse == e.Uses:
		return v1alpha1.SnapshotEmpty, nil // no build has used it since; nor below
	case e.Ref != "" && e.SnapshotUse == e.Uses && e.Outcome != v1alpha1.SnapshotFailed:
		return v1alpha1.SnapshotUnchanged, nil
	}
	c, where, err := m.copyOf(ctx, cache, p, s.id, e.Sharing)
	if err != nil {
		return v1alpha1.SnapshotFailed, err
	}
	_, man, tags, err := m.newest(ctx, c.Repository, s.namespace, s.written)
	if err != nil {
		return v1alpha1.SnapshotFailed, fmt.Errorf("look for earlier snapshots: %w", err)
	}
	m.prepare(c, p, s, man)
	if e.Sharing != "locked" { // builds wait for a locked mount, so none can disturb it
		c.Check = func() error {
			if quiet, now := m.State.quiet(s.id); !quiet || now != begun {
				return errDisturbed
			}
			return nil
		}
	}
	res, digest, err := m.Copier.Snapshot(ctx, c)
	switch {
	case errors.Is(err, errDisturbed), errors.Is(err, daemon.ErrNotReached):
		return v1alpha1.SnapshotDeferred, err
	case err != nil:
		return v1alpha1.SnapshotFailed, err
	}
	switch res.Outcome {
	case mountcopy.Empty:
		e.SnapshotUse = e.Uses
		return v1alpha1.SnapshotEmpty, nil
	case mountcopy.TooLarge:
		return v1alpha1.SnapshotTooLarge,
			fmt.Errorf("the mount holds %d bytes, and maxSize is %d", res.Bytes, c.MaxBytes)
	case mountcopy.Unchanged:
		digest = man.Digest
	}
	e.Ref, e.Digest, e.Bytes, e.SnapshotUse = byDigest(where, digest), res.Digest, res.Bytes, e.Uses
	e.Omitted = res.Omitted.String()
	if res.Outcome == mountcopy.Unchanged {
		return v1alpha1.SnapshotUnchanged, nil
	}
	return v1alpha1.SnapshotPushed, m.cleanUp(ctx, c.Repository, tags, int(p.Snapshot.Keep)-1)
}

// prepare fills in a copy that adds to the newest snapshot, or is whole where that is due.
func (m *Maker) prepare(c *daemon.MountCopy, p *v1alpha1.MountPolicy, s subject, newest registry.Manifest) {
	c.Patience = patience
	c.Image, c.Whole = newest, needsWhole(daemon.ContentLayers(newest))
	c.Tag = cacheref.MountTag(s.namespace, s.written, m.Now(), m.Daemon)
	c.Annotations = map[string]string{
		annotationMount: s.written, annotationNamespace: s.namespace, annotationDaemon: m.Daemon,
		annotationPlatform: platform(), annotationUsage: m.Position(s.id),
	}
	if p.Snapshot.MaxSize != nil {
		c.MaxBytes = p.Snapshot.MaxSize.Value()
	}
}

// cleanUp deletes all but the first keep of a mount's older tags, which come newest first.
func (m *Maker) cleanUp(ctx context.Context, repo *registry.Repository, tags []string, keep int) error {
	for _, tag := range tags[min(max(keep, 0), len(tags)):] {
		if err := repo.Delete(ctx, tag); err != nil {
			return fmt.Errorf("delete the old snapshot %s: %w", tag, err)
		}
	}
	return nil
}

// policyOf is the BuildCache's policy of a mount, nil when it has none or the mount is of a namespace that is not
// served.
func (m *Maker) policyOf(cache *v1alpha1.BuildCache, id string) *v1alpha1.MountPolicy {
	return mountpolicy.Of(cache.ServedNamespaces(), cache.Spec.Mounts, id)
}

// Due lists the mounts whose snapshots are due, sorted. A schedule that can't be read is noted at its mounts.
func (m *Maker) Due(cache *v1alpha1.BuildCache) []string {
	var out []string
	for _, id := range m.State.ids() {
		e, _ := m.State.Entry(id)
		p := m.policyOf(cache, id)
		if p == nil || p.Snapshot == nil {
			continue
		}
		quiet, _ := m.State.quiet(id)
		due, err := isDue(p.Snapshot, e, quiet, m.Now(), m.Daemon+"/"+strconv.Quote(id))
		if err != nil && e.Message != err.Error() {
			m.State.note(id, func(e *Entry) { //nolint:errcheck // noted again at the next look
				e.Outcome, e.Message, e.Tried = v1alpha1.SnapshotFailed, err.Error(), m.Now().UTC()
			})
		}
		if due {
			out = append(out, id)
		}
	}
	return out
}

// Hot lists the mounts to snapshot when the daemon shuts down, sorted: those with a policy for it that were used
// since their last snapshot.
func (m *Maker) Hot(cache *v1alpha1.BuildCache) []string {
	var out []string
	for _, id := range m.State.ids() {
		e, _ := m.State.Entry(id)
		if p := m.policyOf(cache, id); p != nil && p.Snapshot != nil &&
			(p.Snapshot.OnDrain == nil || *p.Snapshot.OnDrain) &&
			(e.Ref == "" || e.SnapshotUse != e.Uses) {
			out = append(out, id)
		}
	}
	return out
}

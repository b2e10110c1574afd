// SPDX-License-Identifier: Apache-2.0

// Package retention decides which tags of a registry cache go: build cache and snapshots of mounts that nobody has
// used for long, or whose BuildCache is deleted. What goes is a pure function of what was found; a file on the
// daemon's volume records when tags were first seen.
package retention

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildkey"
	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
)

// Tag is one tag of a repository.
type Tag struct {
	Name string
	// Since is when it came to be as it is, as far as is known: not earlier than that.
	Since time.Time
}

// Input is what a plan is made from.
type Input struct {
	// Namespace of the BuildCache, and Served the namespaces whose builds its daemons see, this one included. Only tags
	// that the operator makes for these are ever planned.
	Namespace string
	Served    []string
	Tags      []Tag
	// Used is when builds last used a key or a mount, by Subject.
	Used map[string]time.Time
	// UnlistedKeysUsed and UnlistedMountsUsed bound when keys and mounts were last used that a BuildDaemon knows but
	// had no room to list; zero where all are listed.
	UnlistedKeysUsed, UnlistedMountsUsed time.Time
	// Others are the subjects that builds of other BuildCaches use. They are never planned when a BuildCache is
	// deleted.
	Others map[string]bool
	Now    time.Time
}

// Expired lists the tags that are older than maxAge and whose key or mount no build has used for as long, sorted. A tag
// stays where its key or mount may have been used, but was not listed.
func Expired(w Input, maxAge time.Duration) []string {
	return w.pick(func(t Tag, subject string) bool {
		used, unlisted := w.Used[subject], w.UnlistedKeysUsed
		if _, isMount := cacheref.MountTagTime(t.Name); isMount {
			unlisted = w.UnlistedMountsUsed
		}
		if unlisted.After(used) {
			used = unlisted
		}
		return w.Now.Sub(t.Since) > maxAge && w.Now.Sub(used) > maxAge
	})
}

// Orphaned lists the tags of keys and mounts that builds of the BuildCache are known to have used and builds of no
// other one are, sorted: what goes when the BuildCache is deleted.
func Orphaned(w Input) []string {
	return w.pick(func(_ Tag, subject string) bool {
		_, known := w.Used[subject]
		return known && !w.Others[subject]
	})
}

func (w Input) pick(goes func(t Tag, subject string) bool) []string {
	var out []string
	for _, t := range w.Tags {
		for _, namespace := range w.Served {
			if subject, own := cacheref.Subject(namespace, t.Name); own && goes(t, subject) {
				out = append(out, t.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Gather takes from the BuildDaemons of a BuildCache and the builds of the namespaces that it serves when keys and
// mounts were last used, now by builds that have not ended. For the builds of other BuildCaches it notes the subjects
// in Others as well.
func (w *Input) Gather(cache string, daemons []v1alpha1.BuildDaemon, builds []v1alpha1.HLBBuild) {
	w.Used, w.Others = map[string]time.Time{}, map[string]bool{}
	for i := range daemons {
		w.boundUnlisted(&daemons[i].Status)
		for _, k := range daemons[i].Status.Keys {
			w.use(cacheref.Tag(buildkey.Namespace(k.Key, w.Namespace), k.Key), k.LastUsed.Time)
		}
		for _, m := range daemons[i].Status.Mounts {
			if namespace, written, own := mountpolicy.Written(w.Served, m.ID); own {
				var last time.Time
				if m.LastUsed != nil {
					last = m.LastUsed.Time
				}
				w.use(cacheref.MountSubject(namespace, written), last)
			}
		}
	}
	for i := range builds {
		for _, subject := range w.subjects(&builds[i]) {
			if builds[i].CacheName() != (types.NamespacedName{Namespace: w.Namespace, Name: cache}) {
				w.Others[subject] = true
			}
			w.use(subject, lastUse(&builds[i], w.Now))
		}
	}
}

// emptyFolderBytes is what a cache mount without content takes at most; such mounts are not listed.
const emptyFolderBytes = 4096

// boundUnlisted bounds the last use of what a BuildDaemon does not list. Keys are listed latest first, so an unlisted
// one was not used after the last of them; mounts are not, so nothing is known of an unlisted one.
func (w *Input) boundUnlisted(s *v1alpha1.BuildDaemonStatus) {
	if n := len(s.Keys); n > 0 && n < int(s.KeysTotal) && s.Keys[n-1].LastUsed.After(w.UnlistedKeysUsed) {
		w.UnlistedKeysUsed = s.Keys[n-1].LastUsed.Time
	} else if n == 0 && s.KeysTotal > 0 {
		w.UnlistedKeysUsed = w.Now
	}
	unlisted := int64(s.MountsTotal) - int64(len(s.Mounts))
	if unlisted <= 0 {
		return
	}
	if s.GC != nil {
		bytes := s.GC.MountsBytes
		for i := range s.Mounts {
			bytes -= s.Mounts[i].Bytes
		}
		if bytes <= unlisted*emptyFolderBytes {
			return
		}
	}
	w.UnlistedMountsUsed = w.Now
}

func (w *Input) use(subject string, at time.Time) {
	if last, known := w.Used[subject]; !known || at.After(last) {
		w.Used[subject] = at
	}
}

// subjects of a build's current run.
func (w *Input) subjects(b *v1alpha1.HLBBuild) []string {
	if b.Status.Run == nil || b.Status.Run.Key == "" {
		return nil
	}
	out := []string{cacheref.Tag(b.Namespace, b.Status.Run.Key)}
	for _, m := range b.Status.Mounts {
		if namespace, written, own := mountpolicy.Written(w.Served, m.ID); own {
			out = append(out, cacheref.MountSubject(namespace, written))
		}
	}
	return out
}

// lastUse is when a build that has a run last used its caches.
func lastUse(b *v1alpha1.HLBBuild, now time.Time) time.Time {
	if end := b.Status.Run.FinishedAt; end != nil {
		return end.Time
	}
	return now
}

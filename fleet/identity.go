// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
)

// identity derives the scheduler's identities: the same for the life of a BuildCache, others in each namespace.
type identity struct {
	pool, keySpace, mountSpace string
}

func identityOf(cache *v1alpha1.BuildCache) identity {
	return identity{
		pool:       cache.Namespace + "/" + cache.Name,
		keySpace:   cache.Namespace,
		mountSpace: cache.Namespace + "\x00mount",
	}
}

// daemon goes by the ordinal, which outlives the pod.
func (i *identity) daemon(d *v1alpha1.BuildDaemon) scheduler.DaemonID {
	return scheduler.DaemonOf(i.pool, int(d.Spec.Ordinal))
}

// key is the identity of a cache key.
func (i *identity) key(key string) scheduler.KeyID { return scheduler.KeyOf(i.keySpace, key) }

// mount is the identity of a cache mount, apart from those of cache keys. id is as BuildKit knows it.
func (i *identity) mount(id string) scheduler.KeyID { return scheduler.KeyOf(i.mountSpace, id) }

// seconds puts an instant on the scheduler's clock: Unix seconds.
func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// latest is the later of two instants.
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// KeyID names a cache key, for example the layer cache of one program or one cache mount. See KeyOf.
type KeyID uint64

// DaemonID names the place of a daemon in its pool, and thereby its volume; it outlives pods. See DaemonOf.
type DaemonID uint64

// Epoch identifies one life of a daemon's volume: a copy of another epoch is gone. See EpochOf.
type Epoch uint64

// KeyOf returns the identity of a key. The namespace is part of it because namespaces never share caches.
func KeyOf(namespace, key string) KeyID {
	var d xxhash.Digest
	d.Reset()
	// A Digest never fails to write. NUL keeps ("a", "bc") and ("ab", "c") apart; neither part can hold one.
	_, _ = d.WriteString(namespace)
	_, _ = d.WriteString("\x00")
	_, _ = d.WriteString(key)
	return KeyID(d.Sum64())
}

// DaemonOf returns the identity of the daemon with this ordinal (from 0) in this pool, a BuildCache written
// "namespace/name". It does not depend on pod names, addresses or UIDs, which change while the volume stays.
func DaemonOf(pool string, ordinal int) DaemonID {
	return DaemonID(xxhash.Sum64String(pool + "/" + strconv.Itoa(ordinal)))
}

// EpochOf returns the epoch of a volume, from any text that changes when the content of the volume starts over.
func EpochOf(volume string) Epoch {
	return Epoch(xxhash.Sum64String(volume))
}

// affinity is the pseudo-random number that rendezvous hashing compares: uniform over 64 bits, independent for each
// pair. The finaliser is that of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). A change moves every key of every fleet;
// golden vectors in the tests prevent it.
func affinity(key KeyID, daemon DaemonID) uint64 {
	x := uint64(key) ^ uint64(daemon)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

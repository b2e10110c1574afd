// SPDX-License-Identifier: Apache-2.0

package scheduler

import "slices"

// CopyState is how certain a copy is.
type CopyState uint8

// The states of a copy.
const (
	Confirmed CopyState = iota // a build with it succeeded, or the daemon listed it
	Pending                    // a running build is making it
)

var copyStateNames = [...]string{"Confirmed", "Pending"}

// String is the state's name.
func (s CopyState) String() string { return nameOf(copyStateNames[:], uint8(s)) }

// MarshalText writes the state by name.
func (s CopyState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state by name.
func (s *CopyState) UnmarshalText(text []byte) error {
	at, err := indexOf("copy state", copyStateNames[:], text)
	*s = CopyState(at)
	return err
}

// Copy is one key's content on one daemon's volume.
type Copy struct {
	Daemon DaemonID  `json:"daemon,string"`
	Epoch  Epoch     `json:"epoch,string,omitempty"`
	State  CopyState `json:"state,omitempty"`
	// Version is the key's version at the last successful build with this copy; the distance to the key's current
	// version is its age.
	Version uint32 `json:"version,omitempty"`
	Bytes   int64  `json:"bytes,omitempty"`
	// Users is how many builds use it now; they are expected to end by ReleaseAtSeconds.
	Users            int32   `json:"users,omitempty"`
	ReleaseAtSeconds float64 `json:"releaseAtSeconds,omitempty"`
	UsedAtSeconds    float64 `json:"usedAtSeconds,omitempty"`
	// ExpiresAtSeconds is when a Pending copy without a report is forgotten.
	ExpiresAtSeconds float64 `json:"expiresAtSeconds,omitempty"`
}

// Ledger is the belief about which daemon holds which key. Losing all or part of it makes builds slower, never wrong.
// Copies are found by identity and epoch, so a daemon that returns with its volume finds them again, and a daemon with
// a new volume does not.
type Ledger struct {
	keys keyMap[holding]
}

// holding is the state of one key; copies are sorted by daemon.
type holding struct {
	version   uint32
	replicas  int32   // wanted copies; 0 counts as 1
	perSecond float64 // rate of builds; 0: unknown
	copies    []Copy
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{} }

// Copies returns the copies of key, sorted by daemon. The slice belongs to the ledger: it is read-only and valid until
// the ledger's next change.
func (l *Ledger) Copies(key KeyID) []Copy {
	if h := l.keys.get(key); h != nil {
		return h.copies
	}
	return nil
}

// Version returns the number of successful builds of key.
func (l *Ledger) Version(key KeyID) uint32 {
	if h := l.keys.get(key); h != nil {
		return h.version
	}
	return 0
}

// Restore sets a copy as reported from outside, and raises the key's version to the copy's.
func (l *Ledger) Restore(key KeyID, c Copy) {
	h := l.ensure(key)
	h.version = max(h.version, c.Version)
	*h.ensureCopy(c.Daemon) = c
}

// Advance raises the version of a known key: all reported copies may be stale because the daemon with the newest copy
// is gone.
func (l *Ledger) Advance(key KeyID, version uint32) {
	if h := l.keys.get(key); h != nil {
		h.version = max(h.version, version)
	}
}

// Begin records the start of a build with key on a daemon, expected to end at endsAtSeconds. If no copy of this epoch
// is known, the build is taken to make one, and the ledger expects it until expiresAtSeconds.
func (l *Ledger) Begin(key KeyID, daemon DaemonID, epoch Epoch, nowSeconds, endsAtSeconds, expiresAtSeconds float64) {
	h := l.ensure(key)
	c := h.ensureCopy(daemon)
	if c.Daemon != daemon || c.Epoch != epoch {
		*c = Copy{Daemon: daemon, Epoch: epoch, State: Pending}
	}
	if c.State == Pending {
		c.ExpiresAtSeconds = max(c.ExpiresAtSeconds, expiresAtSeconds)
	}
	c.Users++
	c.UsedAtSeconds = nowSeconds
	c.ReleaseAtSeconds = max(c.ReleaseAtSeconds, endsAtSeconds)
}

// End records the end of a build that Begin recorded. A success makes the copy the newest of its key. A failure leaves
// an existing copy as it was and forgets a copy that the build was making. bytes is the size of the copy, 0 if unknown.
// The end of a build in another epoch than the copy changes nothing.
func (l *Ledger) End(key KeyID, daemon DaemonID, epoch Epoch, nowSeconds float64, success bool, bytes int64) {
	h := l.keys.get(key)
	if h == nil {
		return
	}
	i, found := h.find(daemon)
	if !found || h.copies[i].Epoch != epoch {
		return
	}
	c := &h.copies[i]
	c.Users = max(c.Users-1, 0)
	if c.Users == 0 {
		c.ReleaseAtSeconds = 0
	}
	c.UsedAtSeconds = nowSeconds
	if success {
		h.version++
		c.State, c.Version, c.ExpiresAtSeconds = Confirmed, h.version, 0
		if bytes > 0 {
			c.Bytes = bytes
		}
	} else if c.State == Pending && c.Users == 0 {
		h.copies = slices.Delete(h.copies, i, i+1)
	}
}

// Drop forgets a copy, for example because its daemon evicted it.
func (l *Ledger) Drop(key KeyID, daemon DaemonID) {
	if h := l.keys.get(key); h != nil {
		if i, found := h.find(daemon); found {
			h.copies = slices.Delete(h.copies, i, i+1)
		}
	}
}

// Expire forgets pending copies past their expiry.
func (l *Ledger) Expire(nowSeconds float64) {
	for _, h := range l.keys.all() {
		h.copies = slices.DeleteFunc(h.copies, func(c Copy) bool {
			return c.State == Pending && c.ExpiresAtSeconds <= nowSeconds
		})
	}
}

// Trim forgets keys without copies of which at most one copy is wanted, to bound the memory of a long-lived ledger.
func (l *Ledger) Trim() {
	l.keys.removeIf(func(h *holding) bool { return len(h.copies) == 0 && h.replicas <= 1 })
}

// WantReplicas sets the wanted number of copies of key; 0 counts as 1. While fewer exist, a build of the key that
// spills to another daemon pays no price for the extra work.
func (l *Ledger) WantReplicas(key KeyID, replicas int32) {
	if h := l.keys.get(key); h != nil || replicas > 1 {
		l.ensure(key).replicas = replicas
	}
}

// SetRate sets the expected builds of a known key per second; 0: unknown.
func (l *Ledger) SetRate(key KeyID, perSecond float64) {
	if h := l.keys.get(key); h != nil {
		h.perSecond = perSecond
	}
}

// ensure returns the entry of key and creates it if needed.
func (l *Ledger) ensure(key KeyID) *holding {
	h := l.keys.get(key)
	if h == nil {
		h = &holding{}
		l.keys.put(key, h)
	}
	return h
}

// find returns the index of daemon among the copies, or where to insert it. Few keys have more than three copies, so
// the search is linear.
func (h *holding) find(daemon DaemonID) (int, bool) {
	for i := range h.copies {
		if h.copies[i].Daemon >= daemon {
			return i, h.copies[i].Daemon == daemon
		}
	}
	return len(h.copies), false
}

// ensureCopy returns the daemon's copy and inserts a Pending one if needed.
func (h *holding) ensureCopy(daemon DaemonID) *Copy {
	i, found := h.find(daemon)
	if !found {
		h.copies = slices.Insert(h.copies, i, Copy{Daemon: daemon, State: Pending})
	}
	return &h.copies[i]
}

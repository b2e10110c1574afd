// SPDX-License-Identifier: Apache-2.0

package scheduler

import "slices"

// CopyState says how sure a copy is.
type CopyState uint8

// The states of a copy.
const (
	Confirmed CopyState = iota // a build that used it ended well, or the daemon listed it
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
	// Version counts the successful builds of the key that this copy has seen; the distance to the key's own version
	// is its age.
	Version uint32 `json:"version,omitempty"`
	Bytes   int64  `json:"bytes,omitempty"`
	// Users builds are using it now, and are expected to be done at ReleaseAtSeconds.
	Users            int32   `json:"users,omitempty"`
	ReleaseAtSeconds float64 `json:"releaseAtSeconds,omitempty"`
	UsedAtSeconds    float64 `json:"usedAtSeconds,omitempty"`
	// ExpiresAtSeconds is when a Pending copy is given up, if nobody reported by then.
	ExpiresAtSeconds float64 `json:"expiresAtSeconds,omitempty"`
}

// Ledger is the belief about which daemon holds which key. It is only a belief: losing all or part of it makes builds
// slower, never wrong. Copies are found by identity and epoch, so a daemon that comes back with its volume finds them
// again, and one with a new volume does not.
type Ledger struct {
	keys keyMap[holding]
}

// holding is all that is known of one key; copies are sorted by daemon.
type holding struct {
	version   uint32
	replicas  int32   // wanted copies, 0 until HotKeys says more than one
	perSecond float64 // rate of builds, 0 until HotKeys says
	copies    []Copy
}

// NewLedger is a ledger that knows nothing.
func NewLedger() *Ledger { return &Ledger{} }

// Copies returns the copies of key, sorted by daemon. The slice is the ledger's own: valid until its next change, not
// to be written.
func (l *Ledger) Copies(key KeyID) []Copy {
	if h := l.keys.get(key); h != nil {
		return h.copies
	}
	return nil
}

// Version is how many builds of key ended well.
func (l *Ledger) Version(key KeyID) uint32 {
	if h := l.keys.get(key); h != nil {
		return h.version
	}
	return 0
}

// Restore puts down a copy as reported from outside, replacing what was known of it, and moves the key's version up
// to the copy's.
func (l *Ledger) Restore(key KeyID, c Copy) {
	h := l.ensure(key)
	h.version = max(h.version, c.Version)
	*h.ensureCopy(c.Daemon) = c
}

// Advance moves the version of a key that is held up to what is known from elsewhere: copies that were put down may
// all be behind, because the daemon that held the newest is gone.
func (l *Ledger) Advance(key KeyID, version uint32) {
	if h := l.keys.get(key); h != nil {
		h.version = max(h.version, version)
	}
}

// Begin notes that a build using key starts on a daemon and should end at endsAtSeconds. Where no copy of this epoch
// is known, the build is taken to make one, and that belief ends at expiresAtSeconds.
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

// End notes the end of a build that Begin announced. A success makes the copy the newest of its key; a failure
// changes nothing about a copy that was there before, and forgets one that the build was only making. bytes is the
// copy's size, 0 if not known. An end in another epoch than the copy's says nothing about it.
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

// Drop forgets a copy, for example because the daemon evicted it.
func (l *Ledger) Drop(key KeyID, daemon DaemonID) {
	if h := l.keys.get(key); h != nil {
		if i, found := h.find(daemon); found {
			h.copies = slices.Delete(h.copies, i, i+1)
		}
	}
}

// Expire gives up pending copies whose time is over.
func (l *Ledger) Expire(nowSeconds float64) {
	for _, h := range l.keys.all() {
		h.copies = slices.DeleteFunc(h.copies, func(c Copy) bool {
			return c.State == Pending && c.ExpiresAtSeconds <= nowSeconds
		})
	}
}

// Trim forgets keys that nobody holds and of which no more than one copy is wanted, to bound memory where one ledger
// is kept for long.
func (l *Ledger) Trim() {
	l.keys.removeIf(func(h *holding) bool { return len(h.copies) == 0 && h.replicas <= 1 })
}

// WantReplicas sets how many copies of key are worth having; 0 and 1 are the same. While fewer exist, a build of the
// key that spills to another daemon pays no price for the extra work, because its copy is wanted.
func (l *Ledger) WantReplicas(key KeyID, replicas int32) {
	if h := l.keys.get(key); h != nil || replicas > 1 {
		l.ensure(key).replicas = replicas
	}
}

// SetRate sets how many builds of key are expected a second; 0 means that it is not known. It is what a copy is worth
// to later builds.
func (l *Ledger) SetRate(key KeyID, perSecond float64) {
	if h := l.keys.get(key); h != nil {
		h.perSecond = perSecond
	}
}

// hold finds or makes the entry of key.
func (l *Ledger) ensure(key KeyID) *holding {
	h := l.keys.get(key)
	if h == nil {
		h = &holding{}
		l.keys.put(key, h)
	}
	return h
}

// find is the place of daemon among the copies. Few keys have more than three, so it looks one by one.
func (h *holding) find(daemon DaemonID) (int, bool) {
	for i := range h.copies {
		if h.copies[i].Daemon >= daemon {
			return i, h.copies[i].Daemon == daemon
		}
	}
	return len(h.copies), false
}

// at finds the daemon's copy or inserts a zero Copy for the caller to fill.
func (h *holding) ensureCopy(daemon DaemonID) *Copy {
	i, found := h.find(daemon)
	if !found {
		h.copies = slices.Insert(h.copies, i, Copy{Daemon: daemon, State: Pending})
	}
	return &h.copies[i]
}

// SPDX-License-Identifier: Apache-2.0

package scheduler

// Sharing is what happens when two builds use one key on one daemon at the same time. The modes are those of BuildKit's
// cache mounts.
type Sharing uint8

// The sharing modes.
const (
	Shared  Sharing = iota // both use it
	Locked                 // the second waits until the first is done
	Private                // the second gets an empty one
)

var sharingNames = [...]string{"Shared", "Locked", "Private"}

// String is the mode's name.
func (s Sharing) String() string { return nameOf(sharingNames[:], uint8(s)) }

// MarshalText writes the mode by name.
func (s Sharing) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a mode by name.
func (s *Sharing) UnmarshalText(text []byte) error {
	at, err := indexOf("sharing mode", sharingNames[:], text)
	*s = Sharing(at)
	return err
}

// KeyUse is one cache that a build profits from.
type KeyUse struct {
	ID KeyID `json:"id,string"`
	// Gain is this key's part of the difference between a cold and a warm build, relative to the other keys of the
	// request; if all are 0, the keys have equal parts.
	Gain    float64 `json:"gain,omitempty"`
	Sharing Sharing `json:"sharing,omitempty"`
	// Bytes is the size of a copy; 0: unknown.
	Bytes int64 `json:"bytes,omitempty"`
	// SnapshotBytes is the size of the key's snapshot or registry cache; 0: there is none. SnapshotFresh is the part of
	// Gain that priming with it restores, 0..1.
	SnapshotBytes int64   `json:"snapshotBytes,omitempty"`
	SnapshotFresh float64 `json:"snapshotFresh,omitempty"`
}

// Request is one build that wants a daemon.
type Request struct {
	UID string `json:"uid"` // unique in a cycle; the last tie-break
	// Queue is charged for the build; see Shares. Higher priorities go first.
	Queue    string `json:"queue,omitempty"`
	Priority int32  `json:"priority,omitempty"`
	Platform string `json:"platform,omitempty"` // for example "linux/arm64"; empty: any
	// Keys are the caches it uses, the primary key first: it decides the home. A build without keys has no caches, and
	// all daemons are equal to it.
	Keys []KeyUse `json:"keys,omitempty"`
	// WarmSeconds and ColdSeconds are its expected length with all caches fresh and without caches; 0 means Params'
	// priors. See Estimates.
	WarmSeconds float64 `json:"warmSeconds,omitempty"`
	ColdSeconds float64 `json:"coldSeconds,omitempty"`
	AgeSeconds  float64 `json:"ageSeconds,omitempty"` // since it was first queued, attempts included
	// MaxWaitSeconds is the age from which it goes before every priority; 0 means never.
	MaxWaitSeconds float64 `json:"maxWaitSeconds,omitempty"`
	// FailedOn are daemons where an attempt of this build failed because of the daemon.
	FailedOn []DaemonID `json:"failedOn,omitempty"`
	// Alone requests run only on the daemon that is KeptFor them.
	Alone bool `json:"alone,omitempty"`
}

// expected returns the warm and cold length, with priors for unknown values and cold at least warm.
func (r *Request) expected(p *Params) (warmSeconds, coldSeconds float64) {
	warm, cold := r.WarmSeconds, r.ColdSeconds
	switch {
	case warm <= 0 && cold <= 0:
		warm, cold = p.PriorColdSeconds/p.PriorColdRatio, p.PriorColdSeconds
	case warm <= 0:
		warm = cold / p.PriorColdRatio
	case cold <= 0:
		cold = warm * p.PriorColdRatio
	}
	return warm, max(warm, cold)
}

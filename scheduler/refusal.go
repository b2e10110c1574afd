// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// RefusalReason is why a daemon is refused for a request.
type RefusalReason uint8

// The reasons. They appear in statuses and events by name.
const (
	Fits             RefusalReason = iota // not refused
	AtCapacity                            // every slot is taken
	DaemonNotReady                        // phase NotReady
	DaemonCordoned                        // phase Cordoned
	DaemonDraining                        // phase Draining
	DaemonDormant                         // phase Dormant
	DaemonGone                            // phase Gone
	WrongPlatform                         // cannot build for the platform
	FailedHereBefore                      // an earlier attempt of this build failed there because of the daemon
	KeptFree                              // it is kept free for a build that runs alone
	RunsAlone                             // the build runs alone, on the daemon that is kept free for it
	refusalCount     = iota
)

var refusalNames = [refusalCount]string{
	"Fits",
	"AtCapacity",
	"NotReady",
	"Cordoned",
	"Draining",
	"Dormant",
	"Gone",
	"WrongPlatform",
	"FailedHereBefore",
	"KeptFree",
	"RunsAlone",
}

// String is the reason's name.
func (r RefusalReason) String() string { return nameOf(refusalNames[:], uint8(r)) }

// MarshalText writes the reason by name.
func (r RefusalReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a reason by name.
func (r *RefusalReason) UnmarshalText(text []byte) error {
	at, err := indexOf("refusal reason", refusalNames[:], text)
	*r = RefusalReason(at)
	return err
}

// Refusals counts daemons by the reason of their refusal; the count of Fits is always 0.
type Refusals [refusalCount]int32

// String lists the counts, most frequent first and then by name: "3 AtCapacity, 2 Draining".
func (c Refusals) String() string {
	reasons := make([]RefusalReason, 0, refusalCount)
	for r, n := range c {
		if n > 0 {
			reasons = append(reasons, RefusalReason(r))
		}
	}
	slices.SortFunc(reasons, func(a, b RefusalReason) int {
		return cmp.Or(cmp.Compare(c[b], c[a]), cmp.Compare(a.String(), b.String()))
	})
	parts := make([]string, len(reasons))
	for i, r := range reasons {
		parts[i] = strconv.Itoa(int(c[r])) + " " + r.String()
	}
	return strings.Join(parts, ", ")
}

// NoFitError is returned when no daemon can start the build now. A later cycle may find one.
type NoFitError struct {
	Daemons int // in the fleet
	Refused Refusals
}

// Error returns the message that users read: "0/5 daemons fit: 3 AtCapacity, 2 Draining".
func (e *NoFitError) Error() string {
	if e.Daemons == 0 {
		return "0/0 daemons fit: the fleet is empty"
	}
	return fmt.Sprintf("0/%d daemons fit: %s", e.Daemons, e.Refused)
}

// refusal returns why d cannot start r now, or Fits. Lasting reasons come before AtCapacity, which passes by itself.
func refusal(d *Daemon, r *Request) RefusalReason {
	if reason := lastingRefusal(d, r); reason != Fits {
		return reason
	}
	if d.freeSlots() <= 0 {
		return AtCapacity
	}
	return Fits
}

// lastingRefusal is refusal without capacity: a daemon that passes is worth waiting for.
func lastingRefusal(d *Daemon, r *Request) RefusalReason {
	switch d.Phase {
	case Ready:
	case Cordoned:
		return DaemonCordoned
	case Draining:
		return DaemonDraining
	case Dormant:
		return DaemonDormant
	case Gone:
		return DaemonGone
	case NotReady:
		return DaemonNotReady
	default:
		return DaemonNotReady
	}
	return requestRefusal(d, r)
}

// requestRefusal is lastingRefusal without the daemon's phase.
func requestRefusal(d *Daemon, r *Request) RefusalReason {
	switch {
	case !d.supports(r.Platform):
		return WrongPlatform
	case d.KeptFor != r.UID && d.KeptFor != "":
		return KeptFree
	case r.Alone && d.KeptFor != r.UID:
		return RunsAlone
	case slices.Contains(r.FailedOn, d.ID):
		return FailedHereBefore
	}
	return Fits
}

// nameOf returns names[at], or the number if it is out of range.
func nameOf(names []string, at uint8) string {
	if int(at) < len(names) {
		return names[at]
	}
	return strconv.Itoa(int(at))
}

// indexOf returns the index of text in names. kind names the enumeration in the error.
func indexOf(kind string, names []string, text []byte) (int, error) {
	at := slices.Index(names, string(text))
	if at < 0 {
		return 0, fmt.Errorf("no such %s %q; known are %s", kind, text, strings.Join(names, ", "))
	}
	return at, nil
}

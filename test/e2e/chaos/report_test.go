// SPDX-License-Identifier: Apache-2.0

package chaos

import "github.com/openllb/hlb-operator/test/e2e/harness"

// result is how one scenario went. Counts are of builds.
type result struct {
	Name string `json:"name"`
	// Builds were started, and Ended well. Retried took more than one attempt.
	Builds  int `json:"builds"`
	Ended   int `json:"ended"`
	Retried int `json:"retried"`
	// Lost ended badly, or well without having run. Doubled ran twice at a time, or were reported twice. Stuck had not
	// ended within the bound.
	Lost    int `json:"lost"`
	Doubled int `json:"doubled"`
	Stuck   int `json:"stuck"`
	// RecoverySeconds from the end of the fault, or from the fault itself where it ends at once, until the fleet was
	// whole and a new build had ended.
	RecoverySeconds float64 `json:"recoverySeconds"`
	// Requests to the API server for the operator's kinds, Leases and events, by everybody.
	Requests int `json:"requests"`
	// Details name the builds that were lost, doubled or stuck.
	Details []string `json:"details,omitempty"`
}

// report is what is written.
type report struct {
	Seed      uint64   `json:"seed"`
	Builds    int      `json:"builds"`
	Ended     int      `json:"ended"`
	Retried   int      `json:"retried"`
	Lost      int      `json:"lost"`
	Doubled   int      `json:"doubled"`
	Stuck     int      `json:"stuck"`
	Scenarios []result `json:"scenarios"`
}

// add adds a scenario and writes the file, so that a run that is broken off leaves what it found.
func (r *report) add(s result, file string) error {
	r.Scenarios = append(r.Scenarios, s)
	r.Builds, r.Ended, r.Retried = r.Builds+s.Builds, r.Ended+s.Ended, r.Retried+s.Retried
	r.Lost, r.Doubled, r.Stuck = r.Lost+s.Lost, r.Doubled+s.Doubled, r.Stuck+s.Stuck
	return harness.WriteReport(file, r)
}

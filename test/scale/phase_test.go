// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"time"

	"k8s.io/client-go/kubernetes"
)

// look is all counters at one time.
type look struct {
	at           time.Time
	served       *served
	test, agents counts
	used         map[string]float64 // processor seconds by program
}

// phase is what happened between two looks.
type phase struct {
	seconds float64
	// all requests but those of the test and of the API server itself, and their parts by sender.
	all, manager, agents counts
	test                 counts // requests of the test
	// refused requests, of everybody, and watchEvents to everybody.
	refused, watchEvents counts
	used                 map[string]float64
}

// renewals is how many Leases of other tenants were renewed.
func (p *phase) renewals() float64 { return float64(p.test[kindOf("PUT", "leases", "")]) }

// during does something and counts what happens meanwhile. The log has the total under the given name.
func (f *fleet) during(name string, do func()) *phase {
	f.t.Helper()
	before := f.look()
	do()
	after := f.look()
	p := &phase{
		seconds:     after.at.Sub(before.at).Seconds(),
		agents:      after.agents.minus(before.agents),
		test:        after.test.minus(before.test),
		refused:     after.served.refused.minus(before.served.refused),
		watchEvents: after.served.watchEvents.minus(before.served.watchEvents),
		used:        map[string]float64{},
	}
	p.all = after.served.requests.minus(before.served.requests).minus(
		after.served.own.minus(before.served.own), p.test)
	p.manager = p.all.minus(p.agents)
	for name, seconds := range after.used {
		p.used[name] = seconds - before.used[name]
	}
	f.t.Logf("%s: %d requests in %.1f s", name, p.all.total(), p.seconds)
	return p
}

func (f *fleet) look() look {
	f.t.Helper()
	set, err := kubernetes.NewForConfig(f.config)
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := set.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	s, err := readMetrics(text)
	if err != nil {
		f.t.Fatal(err)
	}
	used := processorSeconds()
	if f.manager != nil {
		used["manager"] = f.manager.seconds()
	}
	return look{at: time.Now(), served: s, test: f.test.counts(), agents: f.agents.counts(), used: used}
}

// wait lets the time pass in which requests without a cause are counted.
func (f *fleet) wait() { pause(f.t.Context(), *still) }

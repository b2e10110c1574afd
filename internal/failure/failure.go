// SPDX-License-Identifier: Apache-2.0

// Package failure tells whose fault the end of an attempt is, and what follows from it. Rules is the one table; Judge
// decides by it about a lost attempt. docs/spec/failures.md has the same in words.
package failure

import (
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Class is whose fault the end of an attempt is.
type Class string

// The classes.
const (
	// Program: the build itself is at fault. The run fails.
	Program Class = "Program"
	// Surroundings: something that the build names does not exist. The run waits for it.
	Surroundings Class = "Surroundings"
	// Infrastructure: a daemon, a registry or the cluster is at fault. Another attempt follows, up to spec.retryLimit.
	Infrastructure Class = "Infrastructure"
	// Imposed: people, the cluster or the operator ended the attempt on purpose. Another attempt follows and does not
	// count towards spec.retryLimit.
	Imposed Class = "Imposed"
)

// Rule is what follows from a reason.
type Rule struct {
	Class Class
	// Elsewhere: the daemon is the cause, so the next attempt goes to another one, if another takes builds.
	Elsewhere bool
	// Death: the daemon died, and the build may be the cause. The attempt counts only if the build ran there alone.
	Death bool
	// Alone: the next attempt runs alone on its daemon. The run fails if this one did already.
	Alone bool
	// Patience: there is a pause before the next attempt from the first loss on, because nothing else changes that.
	// Else there is one from the second loss on.
	Patience bool
}

// Rules has every reason with which an attempt can end, apart from success.
var Rules = map[string]Rule{
	v1alpha1.ReasonCompileFailed:        {Class: Program},
	v1alpha1.ReasonCompileLimitExceeded: {Class: Program},
	v1alpha1.ReasonSourceFailed:         {Class: Program},
	v1alpha1.ReasonNotPermitted:         {Class: Program},
	v1alpha1.ReasonSolveFailed:          {Class: Program},
	v1alpha1.ReasonExportFailed:         {Class: Program},
	v1alpha1.ReasonDeadlineExceeded:     {Class: Program},
	v1alpha1.ReasonPoisonBuild:          {Class: Program},

	v1alpha1.ReasonSecretNotFound:   {Class: Surroundings},
	v1alpha1.ReasonSecretNotAllowed: {Class: Surroundings},
	v1alpha1.ReasonSourceNotFound:   {Class: Surroundings},

	v1alpha1.ReasonDaemonLost:        {Class: Infrastructure, Elsewhere: true, Death: true},
	v1alpha1.ReasonLeaseLost:         {Class: Infrastructure, Elsewhere: true},
	v1alpha1.ReasonAgentSilent:       {Class: Infrastructure, Elsewhere: true},
	v1alpha1.ReasonInternalError:     {Class: Infrastructure, Elsewhere: true},
	v1alpha1.ReasonDiskFull:          {Class: Infrastructure, Elsewhere: true},
	v1alpha1.ReasonOutOfMemory:       {Class: Infrastructure, Alone: true},
	v1alpha1.ReasonAPIUnavailable:    {Class: Infrastructure, Patience: true},
	v1alpha1.ReasonRemoteUnavailable: {Class: Infrastructure, Patience: true},

	v1alpha1.ReasonDaemonDraining: {Class: Imposed},
	v1alpha1.ReasonDaemonRemoved:  {Class: Imposed},
}

// Of returns the rule for a reason. One that is unknown, such as of an agent of another version, is infrastructure's.
func Of(reason string) Rule {
	if rule, known := Rules[reason]; known {
		return rule
	}
	return Rule{Class: Infrastructure, Elsewhere: true}
}

// suspectAfter is how many daemons must have died under a run before it is run alone.
const suspectAfter = 2

// The pauses before attempts: the first, which doubles with each attempt that counts, and the longest.
const (
	firstPause = 10 * time.Second
	lastPause  = 5 * time.Minute
)

// Loss is a lost attempt with what matters of its run.
type Loss struct {
	Reason string
	// Neighbours is how many other builds ran on the daemon when it died.
	Neighbours int
	// Isolated: the attempt ran alone on its daemon.
	Isolated bool
	// Deaths is how many daemons have died under the run, the present one included.
	Deaths int
	// Counted is how many attempts count towards the limit, the present one included as if it did. Limit is
	// spec.retryLimit.
	Counted, Limit int
}

// Verdict is what follows from a loss.
type Verdict struct {
	// Failure is the reason for which the run fails, empty for another attempt.
	Failure string
	// Counts: the lost attempt counts towards spec.retryLimit.
	Counts bool
	// Isolate: the next attempt runs alone on its daemon.
	Isolate bool
	// Pause is how long until the next attempt.
	Pause time.Duration
}

// Judge decides about a lost attempt.
func Judge(l Loss) Verdict {
	rule := Of(l.Reason)
	v := Verdict{
		Counts:  rule.Class != Imposed && (!rule.Death || l.Neighbours == 0),
		Isolate: l.Isolated || rule.Alone || rule.Death && l.Deaths >= suspectAfter,
	}
	switch {
	case rule.Death && l.Isolated:
		v.Failure = v1alpha1.ReasonPoisonBuild
	case rule.Alone && l.Isolated, v.Counts && l.Counted > l.Limit:
		v.Failure = l.Reason
	case v.Counts:
		v.Pause = pause(rule, l.Counted)
	}
	return v
}

// pause is how long after the nth attempt that counts the next one is due.
func pause(rule Rule, n int) time.Duration {
	if !rule.Patience {
		n--
	}
	if n <= 0 {
		return 0
	}
	return min(firstPause<<min(n-1, 10), lastPause)
}

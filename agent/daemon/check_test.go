// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

func TestChecksOfHealth(t *testing.T) {
	t.Parallel()
	bk := buildkittest.Start(t, buildkittest.Options{})
	d := dial(t, bk)
	program := buildkittest.Copier(t)
	for range 3 {
		if err := d.CheckSolve(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	o, err := d.Observe(t.Context())
	if err != nil || o.Records != 0 || len(o.Cache) != 1 {
		t.Errorf("after checks of a new daemon %d records are counted, %+v; %v", o.Records, o.Cache, err)
	}
	for range 3 {
		if err := d.CheckStep(t.Context(), program); err != nil {
			t.Fatal(err)
		}
	}
	if o, err = d.Observe(t.Context()); err != nil || len(o.Cache) != 2 { // the program's
		t.Errorf("after steps the cache has %+v; %v", o.Cache, err)
	}

	bk.Stop()
	for name, check := range map[string]func(context.Context) error{
		"a solve": d.CheckSolve,
		"a step":  func(ctx context.Context) error { return d.CheckStep(ctx, program) },
	} {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := check(ctx)
		cancel()
		if took := time.Since(began); err == nil || took > 20*time.Second {
			t.Errorf("%s of a daemon that is stopped: %v after %s", name, err, took)
		}
	}
	bk.Continue()
	if err := d.CheckSolve(t.Context()); err != nil {
		t.Errorf("after it goes on: %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package envtest tests the API as a real API server serves it: what it accepts and refuses, defaults, subresources,
// selectable fields and columns.
package envtest

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// expectVerdict checks the server's answer: accepted where want is empty, otherwise refused with a message that holds
// want.
func expectVerdict(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want a refusal with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("refused with %q, want %q in it", err, want)
	}
}

// offer asks the server whether it would accept a new object.
func offer(t *testing.T, o client.Object) error {
	t.Helper()
	return envtestkit.Get(t).Client.Create(t.Context(), o, client.DryRunAll)
}

// SPDX-License-Identifier: Apache-2.0

package buildkittest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/openllb/hlb-operator/hack/toolchain"
)

// Copier builds cmd/mountcopy as the agent's image holds it and returns its bytes.
func Copier(t testing.TB) []byte {
	t.Helper()
	chain, err := toolchain.New(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mountcopy")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o",
		file, "./cmd/mountcopy")
	cmd.Dir, cmd.Env = chain.Root, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build mountcopy: %v\n%s", err, text)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

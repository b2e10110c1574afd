// SPDX-License-Identifier: Apache-2.0

package walls_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// transitions are the functions of internal/status that change where a run stands. They check no precondition.
var transitions = regexp.MustCompile(
	`\bstatus\.(Open|Place|Start|Lose|LoseOverdue|Retry|Suspend|HandBack|Succeed|Fail|FailOverdue|Released)\(`)

// TestRunsChangeByTheProtocolOnly looks for code that changes a run past the preconditions of internal/attempt.
func TestRunsChangeByTheProtocolOnly(t *testing.T) {
	root := checkout(t)
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, filepath.Dir(path))
		for _, call := range transitions.FindAllString(string(text), -1) {
			found[rel+" "+call] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	permitted := 0
	for call := range found {
		switch folder, _, _ := strings.Cut(call, " "); {
		case folder == "internal/attempt":
			permitted++
		case !strings.HasPrefix(folder, "test/"): // kits play manager and agents
			t.Errorf("%s: only internal/attempt may call this", call)
		}
	}
	if permitted == 0 {
		t.Error("internal/attempt was not found to call any")
	}
}

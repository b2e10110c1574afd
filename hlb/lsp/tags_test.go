// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.lsp.dev/protocol"
)

// completed returns what is offered at the first mark of a file, and whether that is all.
func (e *editor) completed(name, mark string) (edits []string, complete bool) {
	e.t.Helper()
	got, err := e.server.Completion(e.ctx, &protocol.CompletionParams{
		TextDocumentPositionParams: e.place(name, mark),
	})
	if err != nil {
		e.t.Fatal(err)
	}
	list := got.(*protocol.CompletionList)
	for _, i := range list.Items {
		edits = append(edits, i.TextEdit.(*protocol.TextEdit).NewText)
	}
	return edits, !list.IsIncomplete
}

func TestTagsAreCompleted(t *testing.T) {
	asked := make(chan string, 10)
	slow := make(chan struct{})
	e := newEditor(t, nil, Options{Tags: func(ctx context.Context, repository string) ([]string, error) {
		asked <- repository
		switch repository {
		case "slow":
			<-slow
			return []string{"2"}, nil
		case "gone":
			return nil, errors.New("no answer")
		}
		return []string{"1.26", "1.25"}, nil
	}}, nil)
	e.open("a.hlb", "fs a() { image \"golang:\"; }\nfs b() { image \"slow:\"; }\nfs c() { image \"gone:\"; }\n")
	for range 2 { // the second time without asking again
		got, complete := e.completed("a.hlb", "\"; }\nfs b")
		if !slices.Equal(got, []string{"1.26", "1.25"}) || !complete {
			t.Errorf("%q, complete: %v", got, complete)
		}
	}
	if got, complete := e.completed("a.hlb", "\"; }\nfs c"); got != nil || complete {
		t.Errorf("before the answer: %q, complete: %v", got, complete)
	}
	close(slow)
	deadline := time.Now().Add(time.Minute)
	for got, complete := []string(nil), false; !complete || !slices.Equal(got, []string{"2"}); {
		if time.Now().After(deadline) {
			t.Fatalf("behind the answer: %q", got)
		}
		got, complete = e.completed("a.hlb", "\"; }\nfs c")
	}
	e.edit("a.hlb", 2, "gone:", "gone:1")
	if got, complete := e.completed("a.hlb", "1\"; }"); got != nil || !complete {
		t.Errorf("of a registry that is gone: %q, complete: %v", got, complete)
	}
	close(asked)
	var all []string
	for repository := range asked {
		all = append(all, repository)
	}
	if diff := cmp.Diff([]string{"golang", "slow", "gone"}, all); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	e.told("no answer")
}

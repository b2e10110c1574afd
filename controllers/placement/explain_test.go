// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func get(t *testing.T, server *httptest.Server, path string) (int, []byte) {
	t.Helper()
	res, err := http.Get(server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

func TestRoundsAreExplainedAndDecidedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.placement.Explain = &Explanations{}
	server := httptest.NewServer(w.placement.Explain)
	defer server.Close()
	cache := w.Fleet(2, 1)
	w.Build("first", testbuild.WithCacheKey("app"))
	w.place(cache)
	w.Build("second", testbuild.WithCacheKey("app"))
	w.place(cache)
	w.place(cache) // brings no news

	var rounds []struct {
		Round  int64
		Cache  string
		Builds []struct{ Name, Action, Daemon, Decision string }
	}
	_, body := get(t, server, ExplainPath+"?cache="+w.NS+"/cache")
	if err := json.Unmarshal(body, &rounds); err != nil {
		t.Fatal(err)
	}
	if len(rounds) != 2 || rounds[1].Builds[0].Name != "first" || rounds[1].Builds[0].Action != "Run" ||
		rounds[0].Builds[0].Name != "second" {
		t.Fatalf("rounds are %s", body)
	}
	for _, r := range rounds {
		_, data := get(t, server, fmt.Sprintf("%s/%d", ExplainPath, r.Round))
		record, err := scheduler.ReadRecord(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		again, err := record.Replay()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(record.Decisions, again, cmpopts.IgnoreFields(scheduler.Option{}, "At")); diff != "" {
			t.Errorf("round %d decided again (-kept +now):\n%s", r.Round, diff)
		}
		if again[0].String() != r.Builds[0].Decision {
			t.Errorf("the record says %q, the list %q", again[0].String(), r.Builds[0].Decision)
		}
	}
	for query, want := range map[string]int{"": 2, "?build=first": 1, "?build=nobody": 0, "?cache=other/cache": 0} {
		_, body := get(t, server, ExplainPath+query)
		var list []json.RawMessage
		if err := json.Unmarshal(body, &list); err != nil || len(list) != want {
			t.Errorf("%q yields %d rounds, want %d", query, len(list), want)
		}
	}
	for path, want := range map[string]int{"/77": http.StatusNotFound, "/x": http.StatusNotFound} {
		if code, _ := get(t, server, ExplainPath+path); code != want {
			t.Errorf("%s yields %d, want %d", path, code, want)
		}
	}
}

func TestOldRoundsGo(t *testing.T) {
	t.Parallel()
	e := &Explanations{}
	add := func(r *scheduler.Record) {
		e.add(types.NamespacedName{}, envtestkit.Epoch, &fleet.Round{Record: r})
	}
	for range keptRounds + 10 {
		add(&scheduler.Record{})
	}
	if len(e.rounds) != keptRounds || e.rounds[0].Round != 11 {
		t.Errorf("%d rounds are kept, from %d on", len(e.rounds), e.rounds[0].Round)
	}
	for range 40 {
		add(&scheduler.Record{Daemons: make([]scheduler.Daemon, 20_000)})
	}
	held := 0
	for _, r := range e.rounds {
		held += r.bytes
	}
	if held > keptRoundBytes || held != e.bytes || len(e.rounds) == 0 {
		t.Errorf("%d rounds hold %d bytes, counted as %d", len(e.rounds), held, e.bytes)
	}
}

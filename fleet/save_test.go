// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"testing"
	"time"
)

func TestSavedStatesAreChecked(t *testing.T) {
	f := observe(t, done("a", "k", "c-0", 9*time.Second, true))
	f.cycle()
	text, err := f.state.Save()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Restore(text)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := again.Save(); err != nil || string(same) != string(text) {
		t.Errorf("saved again it is (%v)\n%s\nwant\n%s", err, same, text)
	}
	for name, tc := range map[string]struct{ old, new, want string }{
		"text that ends early":         {string(text), "{", "unexpected EOF"},
		"a field that nobody knows":    {`{"params"`, `{"more":1,"params"`, "unknown field"},
		"parameters out of range":      {`"priceKnee":0.85`, `"priceKnee":2`, "priceKnee is 2"},
		"no estimates":                 {`"estimates":{`, `"estimates":null,"hot":{},"more":{`, "unknown field"},
		"a daemon under another name":  {`"c-0":{"name":"c-0"`, `"c-0":{"name":"c-7"`, "another's"},
		"a key without anything to it": {`"keys":{"`, `"keys":{"1":null,"`, "has no state"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(string(text), tc.old, tc.new, 1)
			if _, err := Restore([]byte(changed)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("restored with %v, want an error with %q", err, tc.want)
			}
		})
	}
}

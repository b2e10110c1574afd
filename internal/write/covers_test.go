// SPDX-License-Identifier: Apache-2.0

package write

import (
	"encoding/json"
	"testing"
)

func TestCovers(t *testing.T) {
	cases := map[string]struct {
		live, desired string
		want          bool
	}{
		"the same":                             {`{"a":1}`, `{"a":1}`, true},
		"more than is desired":                 {`{"a":1,"b":2}`, `{"a":1}`, true},
		"less than is desired":                 {`{}`, `{"a":1}`, false},
		"another value":                        {`{"a":2}`, `{"a":1}`, false},
		"defaults below":                       {`{"a":{"b":1,"c":2}}`, `{"a":{"b":1}}`, true},
		"false instead of true":                {`{"a":true}`, `{"a":false}`, false},
		"false that is desired and absent":     {`{}`, `{"a":false}`, false},
		"nothing is desired of it":             {`{"a":1}`, `{"a":null,"b":{},"c":[],"d":""}`, true},
		"no element is desired, and one there": {`{"a":["x"]}`, `{"a":[]}`, false},
		"a list of values with one more":       {`["x","y"]`, `["x"]`, false},
		"a list of values in another order":    {`["x","y"]`, `["y","x"]`, false},
		"elements with defaults":               {`[{"port":1,"protocol":"TCP"}]`, `[{"port":1}]`, true},
		"named elements in another order": {
			`[{"name":"b"},{"name":"a","v":1}]`, `[{"name":"a"},{"name":"b"}]`, true,
		},
		"a named element of somebody else's": {`[{"name":"a"},{"name":"injected"}]`, `[{"name":"a"}]`, true},
		"a named element is missing":         {`[{"name":"b"}]`, `[{"name":"a"}]`, false},
		"a named element was changed":        {`[{"name":"a","v":2}]`, `[{"name":"a","v":1}]`, false},
		"elements of the same name by place": {
			`[{"name":"a","at":"1"},{"name":"a","at":"2"}]`, `[{"name":"a","at":"1"},{"name":"a","at":"2"}]`, true,
		},
		"elements of the same name, one changed": {
			`[{"name":"a","at":"1"},{"name":"a","at":"3"}]`, `[{"name":"a","at":"1"},{"name":"a","at":"2"}]`, false,
		},
		"another kind of value": {`{"a":[1]}`, `{"a":{"b":1}}`, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var live, desired any
			if err := json.Unmarshal([]byte(tc.live), &live); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tc.desired), &desired); err != nil {
				t.Fatal(err)
			}
			if got := covers(live, desired); got != tc.want {
				t.Errorf("covers is %v, want %v", got, tc.want)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package solve

import "testing"

func TestCacheMountID(t *testing.T) {
	for description, want := range map[string]string{
		`cached mount /a from exec /bin/sh -c make with id "//a"`:                        "//a",
		`cached mount /a from exec sh -c echo " with id \"x\"" with id "n/ with id \"q"`: `n/ with id "q`,
		"cached mount /a from exec a\nb with id \"b\\n\"":                                "b\n",
		"mount / from exec x": "",
		`x with id "unclosed`: "",
	} {
		if got, ok := CacheMountID(description); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v, want %q", description, got, ok, want)
		}
	}
}

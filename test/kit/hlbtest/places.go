// SPDX-License-Identifier: Apache-2.0

package hlbtest

import (
	"fmt"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// Places renders diagnostics as CODE LINE:COLUMN, nil if there are none.
func Places(l diag.List) []string {
	var out []string
	for _, d := range l {
		out = append(out, fmt.Sprintf("%s %d:%d", d.Code, d.Primary.Start.Line, d.Primary.Start.Column))
	}
	return out
}

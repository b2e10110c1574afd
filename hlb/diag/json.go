// SPDX-License-Identifier: Apache-2.0

package diag

import (
	"encoding/json"
	"io"
)

// JSON is a diagnostic as tools read it.
type JSON struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1; 0 without a place
	Column  int    `json:"column"` // in runes, from 1; 0 without a place
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// JSON returns l as tools read it, in order; empty, not nil, for no diagnostics.
func (l List) JSON() []JSON {
	out := make([]JSON, 0, len(l))
	for _, d := range l {
		at := d.Primary
		out = append(out, JSON{
			File: at.File, Line: at.Start.Line, Column: at.Start.Column,
			Code: d.Code, Message: d.Message, Hint: d.Hint,
		})
	}
	return out
}

// WriteJSON writes l as one JSON array.
func WriteJSON(w io.Writer, l List) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(l.JSON())
}

// SPDX-License-Identifier: Apache-2.0

package syntax

import (
	"fmt"

	"github.com/openllb/hlb-operator/hlb/diag"
)

type tokenKind uint8

const (
	tEOF        tokenKind = iota
	tIllegal              // a character no token starts with, or a raw string or heredoc that is not closed
	tTooDeep              // an opener beyond the limit of depth; the end of the file follows
	tNewline              // one line feed outside of strings
	tComment              // from "#" up to, not including, its line feed, which is consumed with it
	tSemicolon            // ;
	tComma                // , (only in parentheses)
	tLBrace               // {
	tRBrace               // } of a block
	tLParen               // (
	tRParen               // )
	tIdent                // also the member after a dot
	tDot                  // . directly between two identifiers
	tImport               // import
	tExport               // export
	tWith                 // with
	tAs                   // as
	tInt                  // decimal, or with a base prefix
	tBool                 // true, false
	tQuote                // " that opens a string
	tQuoteEnd             // " that closes it
	tRawString            // a whole string in backticks
	tHeredoc              // << with an optional - or ~ and the tag
	tHeredocEnd           // the tag that closes a heredoc
	tRawHeredoc           // the same with the tag in backticks
	tInterp               // ${
	tInterpEnd            // } of an interpolation
	tText                 // text of a string or heredoc, white space included
	tEscape               // backslash and a character
)

// token is one token. Its text is src[start.Offset:end.Offset].
type token struct {
	kind       tokenKind
	depth      int // number of enclosing brackets and strings; an opener and its closer have the outer depth
	start, end diag.Position
}

// fixed is how tokens with one spelling are named in messages.
var fixed = map[tokenKind]string{
	tEOF: "end of file", tNewline: "end of line", tComment: "comment", tQuote: "string", tQuoteEnd: "end of string",
	tRawString: "raw string", tHeredoc: "heredoc", tHeredocEnd: "end of heredoc", tRawHeredoc: "raw heredoc",
	tText: "text", tEscape: "escape",
}

// describe names t for a message: "`;`", "end of line", "identifier `foo`".
func (t token) describe(src []byte) string {
	if name, ok := fixed[t.kind]; ok {
		return name
	}
	text := src[t.start.Offset:t.end.Offset]
	const longest = 40 // bytes of a name worth repeating in a message
	if len(text) > longest {
		text = append(append([]byte{}, text[:longest]...), "…"...)
	}
	switch t.kind {
	case tIllegal:
		return fmt.Sprintf("character %q", text)
	case tIdent:
		return fmt.Sprintf("identifier `%s`", text)
	case tInt:
		return fmt.Sprintf("number `%s`", text)
	case tImport, tExport, tWith, tAs, tBool:
		return fmt.Sprintf("keyword `%s`", text)
	default:
		return fmt.Sprintf("`%s`", text)
	}
}

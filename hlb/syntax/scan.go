// SPDX-License-Identifier: Apache-2.0

package syntax

import "github.com/openllb/hlb-operator/hlb/diag"

// TokenKind says what a Token is.
type TokenKind uint8

// The kinds of tokens. Blanks and line feeds that mean nothing are none.
const (
	Illegal     TokenKind = iota // what no token starts with, or a string that is not closed
	Newline                      // a line feed that ends a statement
	Comment                      // without its line feed, which ends a statement too
	Semicolon                    //
	Comma                        //
	OpenBrace                    // of a block
	CloseBrace                   //
	OpenParen                    //
	CloseParen                   //
	Ident                        //
	Dot                          // between an import and a member
	Keyword                      // import, export, with, as
	Number                       //
	Bool                         //
	OpenString                   // the quote, or the tag of a heredoc
	CloseString                  //
	Text                         // of a string or heredoc
	Escape                       //
	RawString                    // all of it, a raw heredoc too
	OpenInterp                   // ${
	CloseInterp                  //
)

// kinds maps the lexer's tokens to those of tools.
var kinds = map[tokenKind]TokenKind{
	tNewline: Newline, tComment: Comment, tSemicolon: Semicolon, tComma: Comma, tLBrace: OpenBrace, tRBrace: CloseBrace,
	tLParen: OpenParen, tRParen: CloseParen, tIdent: Ident, tDot: Dot, tImport: Keyword, tExport: Keyword,
	tWith: Keyword, tAs: Keyword, tInt: Number, tBool: Bool, tQuote: OpenString, tHeredoc: OpenString,
	tQuoteEnd: CloseString, tHeredocEnd: CloseString, tText: Text, tEscape: Escape, tRawString: RawString,
	tRawHeredoc: RawString, tInterp: OpenInterp, tInterpEnd: CloseInterp,
}

// Token is one token of a source: src[Start.Offset:End.Offset].
type Token struct {
	Kind       TokenKind
	Start, End diag.Position
}

// Scan cuts a source into tokens, for tools that color or complete it, whatever is wrong with it. Of a source beyond
// the limits there are none, or those before it goes too deep.
func Scan(src []byte, limits Limits) []Token {
	p := &parser{src: src, limits: limits.WithDefaults()}
	if !p.readable() {
		return nil
	}
	l := newLexer(src, p.limits.MaxDepth)
	var tokens []Token
	for {
		t := l.next()
		if t.kind == tEOF || t.kind == tTooDeep {
			return tokens
		}
		tokens = append(tokens, Token{Kind: kinds[t.kind], Start: t.start, End: t.end})
	}
}

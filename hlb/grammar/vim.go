// SPDX-License-Identifier: Apache-2.0

package grammar

import "strings"

const vimHead = `" Syntax of HLB.
" Written from the declarations in hlb/builtin by the tests of hlb/grammar, with -update.
if exists("b:current_syntax")
  finish
endif

" Names may hold colons.
syntax iskeyword @,48-57,_,:

`

const vimTail = `
syntax match hlbKind /\<option\(::[0-9A-Za-z_:]\+\)\?\>\ze\s*[{A-Za-z_]/
syntax match hlbName /\(^[0-9A-Za-z_:]\+\s\+\)\@<=[0-9A-Za-z_:]\+\ze\s*(/
syntax match hlbMember /\.[0-9A-Za-z_:]\+/
syntax match hlbNumber /\<\(0[bBoOxX]\x\+\|0\|[1-9]\d*\)\>/
syntax match hlbComment /#.*$/ contains=@Spell

syntax match hlbEscape /\\./ contained
syntax region hlbBlock start=/{/ end=/}/ transparent fold
syntax region hlbInterpolation matchgroup=hlbSpecial start=/\${/ end=/}/ contained contains=TOP
syntax region hlbString start=/"/ end=/"/ contains=hlbEscape,hlbInterpolation
syntax region hlbString start=/` + "`/ end=/`/" + `
syntax region hlbString matchgroup=hlbTag start=/<<[-~]\?\z(\w\+\)/ end=/\(^\|\s\)\@1<=\z1\>/ contains=hlbEscape,hlbInterpolation
syntax region hlbString matchgroup=hlbTag start=/<<[-~]\?` + "`\\z(\\w\\+\\)`" + `/ end=/\(^\|\s\)\@1<=\z1\>/

highlight default link hlbKeyword Keyword
highlight default link hlbKind Type
highlight default link hlbFunction Function
highlight default link hlbOption Identifier
highlight default link hlbName Function
highlight default link hlbBoolean Boolean
highlight default link hlbNumber Number
highlight default link hlbComment Comment
highlight default link hlbString String
highlight default link hlbTag Delimiter
highlight default link hlbEscape SpecialChar
highlight default link hlbSpecial Special

let b:current_syntax = "hlb"
`

// Vim returns the syntax file for Vim.
func Vim() []byte {
	var b strings.Builder
	b.WriteString(vimHead)
	list := func(group string, names []string) {
		b.WriteString("syntax keyword " + group + " " + strings.Join(names, " ") + "\n")
	}
	list("hlbKeyword", append(append([]string{}, keywords...), soft...))
	list("hlbKind", kindNames())
	list("hlbBoolean", []string{"true", "false"})
	list("hlbFunction", functions())
	list("hlbOption", options())
	b.WriteString(vimTail)
	return []byte(b.String())
}

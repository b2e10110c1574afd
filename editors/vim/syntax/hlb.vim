" Syntax of HLB.
" Written from the declarations in hlb/builtin by the tests of hlb/grammar, with -update.
if exists("b:current_syntax")
  finish
endif

" Names may hold colons.
syntax iskeyword @,48-57,_,:

syntax keyword hlbKeyword import export with as from binds variadic
syntax keyword hlbKind fs string int bool pipeline group
syntax keyword hlbBoolean true false
syntax keyword hlbFunction cacheContext cmd copy diff dir dockerLoad dockerPush download downloadDockerTarball downloadOCITarball downloadTarball entrypoint env expose format frontend git http image label local localArch localCwd localEnv localOs localRun manifest merge mkdir mkfile rm run scratch shell stage stopSignal template user volumes breakpoint
syntax keyword hlbOption allowEmptyWildcard allowNotFound allowWildcard base cache cacheMount checksum chmod chown contentsOnly createDestPath createParents createdTime excludePatterns filename followSymlinks forward gid host id ignoreCache ignoreError ignoreErrors includePatterns includeStderr inlineCache input keepGitDir localPaths mode mount network onlyStderr opt optional owner permissions platform readonly readonlyRootfs resolve secret security sharing shlex sourcePath ssh stargz stringField target tmpfs to toImage toLocal uid unpack

syntax match hlbKind /\<option\(::[0-9A-Za-z_:]\+\)\?\>\ze\s*[{A-Za-z_]/
syntax match hlbName /\(^[0-9A-Za-z_:]\+\s\+\)\@<=[0-9A-Za-z_:]\+\ze\s*(/
syntax match hlbMember /\.[0-9A-Za-z_:]\+/
syntax match hlbNumber /\<\(0[bBoOxX]\x\+\|0\|[1-9]\d*\)\>/
syntax match hlbComment /#.*$/ contains=@Spell

syntax match hlbEscape /\\./ contained
syntax region hlbBlock start=/{/ end=/}/ transparent fold
syntax region hlbInterpolation matchgroup=hlbSpecial start=/\${/ end=/}/ contained contains=TOP
syntax region hlbString start=/"/ end=/"/ contains=hlbEscape,hlbInterpolation
syntax region hlbString start=/`/ end=/`/
syntax region hlbString matchgroup=hlbTag start=/<<[-~]\?\z(\w\+\)/ end=/\(^\|\s\)\@1<=\z1\>/ contains=hlbEscape,hlbInterpolation
syntax region hlbString matchgroup=hlbTag start=/<<[-~]\?`\z(\w\+\)`/ end=/\(^\|\s\)\@1<=\z1\>/

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

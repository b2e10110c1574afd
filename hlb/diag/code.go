// SPDX-License-Identifier: Apache-2.0

package diag

// Code names a class of diagnostics. Codes are stable: tools and tests match on them, texts may improve.
type Code string

// Classes found by parsing and checking.
const (
	// Syntax: a token or character that can't stand where it stands.
	Syntax Code = "SYNTAX"
	// Duplicate: a name defined twice, or equal to the name of a builtin.
	Duplicate Code = "DUPLICATE"
	// BindNoTarget: `as` without a name.
	BindNoTarget Code = "BIND-NO-TARGET"
	// BindNoClosure: `as` where there is no function to take the parameters of.
	BindNoClosure Code = "BIND-NO-CLOSURE"
	// BindNoEffect: `as` on a call that has nothing to bind.
	BindNoEffect Code = "BIND-NO-EFFECT"
	// BindUnknownEffect: `as (effect name)` with an effect the callee doesn't have.
	BindUnknownEffect Code = "BIND-UNKNOWN-EFFECT"
	// Undefined: a name, or the name of a kind, that nothing defines.
	Undefined Code = "UNDEFINED"
	// WrongKind: a value of one kind where another is wanted.
	WrongKind Code = "WRONG-KIND"
	// ArgCount: too few or too many arguments.
	ArgCount Code = "ARG-COUNT"
	// NotAnImport: a dot after a name that isn't an import.
	NotAnImport Code = "NOT-AN-IMPORT"
	// ImportUsedDirectly: an import used as if it were a value.
	ImportUsedDirectly Code = "IMPORT-USED-DIRECTLY"
	// NotExported: a name of another module that isn't exported there.
	NotExported Code = "NOT-EXPORTED"
	// ImportNotFound: the file of an import that is used doesn't exist.
	ImportNotFound Code = "IMPORT-NOT-FOUND"
	// ModuleChecksum: a vendored module that isn't what the lock file lists.
	ModuleChecksum Code = "MODULE-CHECKSUM"
	// SourceTooLarge: a file longer than the limit.
	SourceTooLarge Code = "SOURCE-TOO-LARGE"
	// TooDeep: blocks, parentheses and interpolations nested deeper than the limit.
	TooDeep Code = "TOO-DEEP"
)

// Classes found while evaluating.
const (
	// BadImageRef: an image reference that doesn't parse.
	BadImageRef Code = "BAD-IMAGE-REF"
	// BadNetworkMode: not one of unset, host, none.
	BadNetworkMode Code = "BAD-NETWORK-MODE"
	// BadSecurityMode: not one of sandbox, insecure.
	BadSecurityMode Code = "BAD-SECURITY-MODE"
	// BadSharingMode: not one of shared, private, locked.
	BadSharingMode Code = "BAD-SHARING-MODE"
	// BindCacheMount: the alias of a cache mount, which has no output, was evaluated.
	BindCacheMount Code = "BIND-CACHE-MOUNT"
	// EngineUnsupported: the BuildKit inside of Docker Engine can't do this.
	EngineUnsupported Code = "ENGINE-UNSUPPORTED"
	// NoTarget: the wanted target isn't a name of the module.
	NoTarget Code = "NO-TARGET"
	// Conversion: a text that doesn't convert to what a builtin needs.
	Conversion Code = "CONVERSION"
	// ImportCycle: modules that import each other in a circle.
	ImportCycle Code = "IMPORT-CYCLE"
	// LimitImports: too many modules.
	LimitImports Code = "LIMIT-IMPORTS"
	// LimitImportDepth: modules that import modules too deeply.
	LimitImportDepth Code = "LIMIT-IMPORT-DEPTH"
	// ImportScheme: an import with a URI scheme that isn't supported.
	ImportScheme Code = "IMPORT-SCHEME"
	// Recursion: a function that calls itself, which would never end.
	Recursion Code = "RECURSION"
	// Internal: the compiler broke one of its own rules.
	Internal Code = "INTERNAL"
)

// Classes found by the linter.
const (
	// Deprecated marks an old form that the linter can rewrite.
	Deprecated Code = "DEPRECATED"
	// NotPortable: a builtin that other implementations of the language don't have.
	NotPortable Code = "NOT-PORTABLE"
	// UnsafeSharing: a cache mount shared in a way the tool that uses it doesn't support.
	UnsafeSharing Code = "UNSAFE-SHARING"
	// HeredocEscape: `\$` inside a word of a heredoc, which older implementations didn't take for an escape.
	HeredocEscape Code = "HEREDOC-ESCAPE"
	// HeredocOptions: a heredoc whose text begins with options, written behind the wrong tag.
	HeredocOptions Code = "HEREDOC-OPTIONS"
)

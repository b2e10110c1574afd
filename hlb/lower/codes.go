// SPDX-License-Identifier: Apache-2.0

package lower

import "github.com/openllb/hlb-operator/hlb/diag"

// Classes of diagnostics that only evaluation finds, besides those of package diag.
const (
	// NotHere: a builtin that would touch the compiling machine, on a machine that is not the user's.
	NotHere diag.Code = "NOT-HERE"
	// NotDeclared: a secret, agent or entitlement that the build does not declare.
	NotDeclared diag.Code = "NOT-DECLARED"
	// NotAllowed: a source, front end, push or build cache that the embedding program does not allow.
	NotAllowed diag.Code = "NOT-ALLOWED"
	// NeedsDaemon: a builtin that needs a daemon while compiling, when there is none.
	NeedsDaemon diag.Code = "NEEDS-DAEMON"
	// Lookup: a look-up or solve while compiling failed.
	Lookup diag.Code = "LOOKUP"
	// NotVendored: a module of a filesystem or repository that the program's vendored modules lack.
	NotVendored diag.Code = "NOT-VENDORED"
	// ModuleChecksum: a vendored module whose content has changed since it was vendored.
	ModuleChecksum = diag.ModuleChecksum
	// DaemonLost: the daemon went away while compiling. It is no fault of the program, nor is Cancelled.
	DaemonLost diag.Code = "DAEMON-LOST"
	// BadArgument: an argument of a target that is unknown, missing or of the wrong kind.
	BadArgument diag.Code = "BAD-ARGUMENT"
	// BadOption: options that exclude each other, or a value that an option does not take.
	BadOption diag.Code = "BAD-OPTION"
	// Cancelled: the caller cancelled the compile.
	Cancelled diag.Code = "CANCELLED"

	// LimitFuel: too many evaluation steps.
	LimitFuel diag.Code = "LIMIT-FUEL"
	// LimitDepth: calls nested too deeply.
	LimitDepth diag.Code = "LIMIT-DEPTH"
	// LimitVertices: too many build steps.
	LimitVertices diag.Code = "LIMIT-VERTICES"
	// LimitSize: build steps too large in all.
	LimitSize diag.Code = "LIMIT-SIZE"
	// LimitString: a text too long.
	LimitString diag.Code = "LIMIT-STRING"
	// LimitText: the texts of the program too long in all.
	LimitText diag.Code = "LIMIT-TEXT"
	// LimitLayers: more steps on top of each other than BuildKit can mount.
	LimitLayers diag.Code = "LIMIT-LAYERS"
	// LimitMounts: too many cache mounts.
	LimitMounts diag.Code = "LIMIT-MOUNTS"
	// LimitID: the id of a cache mount too long.
	LimitID diag.Code = "LIMIT-ID"
	// LimitTime: compiling takes too long.
	LimitTime diag.Code = "LIMIT-TIME"
)

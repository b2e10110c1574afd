// SPDX-License-Identifier: Apache-2.0

// Package check decides whether a parsed module is a program: every name stands for something, every value has the kind its place
// wants, every call has the arguments its signature asks for. What it finds out about names is kept in an Info, so that no later
// pass looks a name up again.
//
// Imports aren't read here. A member of an import is accepted as it stands and checked by Info.Resolve once the imported module is
// known, because a program may import a module it never needs.
package check

// SPDX-License-Identifier: Apache-2.0

// Package cacheref names the places of the registry cache, all in one repository: one tag a namespace and cache key,
// and one a snapshot of a cache mount.
package cacheref

import "strings"

const (
	tagPrefix = "cache-"
	// hashDigits of the key's SHA-256: 64 bits, so that two of a million keys meet with a chance of 3 in 10⁸.
	hashDigits = 16
)

// Tag is the tag of a namespace's cache key. It is a valid tag for every namespace name: at most 86 characters.
func Tag(namespace, key string) string {
	return tagPrefix + namespace + "-" + hashOf(key, hashDigits)
}

// Ref is where the cache of a namespace's key lives in a repository.
func Ref(repository, namespace, key string) string {
	return repository + ":" + Tag(namespace, key)
}

// isHash reports whether s is the hash of a tag, and not the rest of a longer namespace's name.
func isHash(s string) bool {
	return len(s) == hashDigits && strings.Trim(s, "0123456789abcdef") == ""
}

// SPDX-License-Identifier: Apache-2.0

package cacheref

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	mountPrefix = "mount-"
	// timeLayout is of equal length for all times, so that tags of one mount sort by time.
	timeLayout   = "20060102T150405Z"
	sourceDigits = 8
)

// mountShape is every tag that MountTag makes, and none that Tag makes.
var mountShape = regexp.MustCompile(`^(mount-[a-z0-9-]+-[0-9a-f]{16}-)([0-9]{8}T[0-9]{6}Z)-[0-9a-f]{8}$`)

// MountTag is the tag of a snapshot of a cache mount: of the mount that programs of the namespace call id, made at a
// moment from the daemon called source. It is a valid tag for every namespace name: at most 112 characters.
func MountTag(namespace, id string, at time.Time, source string) string {
	return mountSeries(namespace, id) + at.UTC().Format(timeLayout) + "-" + hashOf(source, sourceDigits)
}

// mountSeries is what all tags of a mount begin with. The namespace's own hyphens are no trouble: what follows it has
// a fixed length.
func mountSeries(namespace, id string) string {
	return mountPrefix + namespace + "-" + hashOf(id, hashDigits) + "-"
}

func hashOf(s string, digits int) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:digits]
}

// MountTags picks the snapshots of a mount out of a repository's tags, the newest first.
func MountTags(tags []string, namespace, id string) []string {
	var out []string
	for _, tag := range tags {
		if found := mountShape.FindStringSubmatch(tag); found != nil && found[1] == mountSeries(namespace, id) {
			out = append(out, tag)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// MountTagTime is when a snapshot's tag was made, false for other tags.
func MountTagTime(tag string) (time.Time, bool) {
	found := mountShape.FindStringSubmatch(tag)
	if found == nil {
		return time.Time{}, false
	}
	at, err := time.Parse(timeLayout, found[2])
	return at, err == nil
}

// Owned reports whether a tag is one that the operator makes for the namespace: build cache, or a snapshot of a mount.
// No other tag is ever deleted.
func Owned(namespace, tag string) bool {
	if hash, ok := strings.CutPrefix(tag, tagPrefix+namespace+"-"); ok {
		return isHash(hash)
	}
	found := mountShape.FindStringSubmatch(tag)
	if found == nil {
		return false
	}
	rest, ok := strings.CutPrefix(found[1], mountPrefix+namespace+"-")
	return ok && len(rest) == hashDigits+1 && isHash(rest[:hashDigits])
}

// Subject is what a tag is about, equal for all snapshots of one mount: MountSubject of the mount, or the tag itself
// for build cache. It is false for tags that the operator does not make for the namespace.
func Subject(namespace, tag string) (string, bool) {
	if !Owned(namespace, tag) {
		return "", false
	}
	if found := mountShape.FindStringSubmatch(tag); found != nil {
		return found[1], true
	}
	return tag, true
}

// MountSubject is the Subject of all snapshots of the mount that programs of the namespace call id. That of a cache
// key is its Tag.
func MountSubject(namespace, id string) string { return mountSeries(namespace, id) }

// SPDX-License-Identifier: Apache-2.0

package snapshot

// TakeAll is takeAll, for tests with a real daemon.
var TakeAll = (*Snapshotter).takeAll

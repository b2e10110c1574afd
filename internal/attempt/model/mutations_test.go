// SPDX-License-Identifier: Apache-2.0

package model_test

// mutation removes one precondition of the protocol.
type mutation string

// The preconditions that a mutation can remove.
const (
	none               mutation = ""
	claimBlind         mutation = "a claim is written without an optimistic lock"
	claimNoSession     mutation = "an agent claims without a session"
	reportBlind        mutation = "an end is written without an optimistic lock"
	reportAny          mutation = "an end is written whatever attempt is the current one"
	reportDropped      mutation = "an end that was refused is dropped"
	resumeNot          mutation = "a claim whose answer was lost is not taken up"
	placeReleasing     mutation = "a run is placed while an attempt is being released"
	openNoRelease      mutation = "a run is opened without the release of the attempt before"
	acknowledgeEarly   mutation = "a release is acknowledged while the attempt executes"
	acknowledgeNot     mutation = "a release is never acknowledged by agents"
	releaseEarly       mutation = "the manager ends a release whose session is not over"
	releaseNot         mutation = "the manager ends no release of a session that is over"
	loseUnproven       mutation = "an attempt is declared lost while its session is not over"
	loseByCache        mutation = "a session is judged by a Lease from the cache"
	takeBlind          mutation = "a Lease is taken without an optimistic lock"
	takeEarly          mutation = "a Lease is taken before it has expired"
	takeNot            mutation = "an expired Lease is not taken"
	fenceNot           mutation = "an agent does not fence itself"
	sessionAtOnce      mutation = "a new session begins right after the last one was fenced"
	sessionSameID      mutation = "a new session has the ID of the last one"
	acquireForeign     mutation = "an agent takes the Lease of another pod at once"
	revokedIsOver      mutation = "a revoked session counts as over at once"
	renewTaken         mutation = "an agent takes its Lease back in the same session"
	withdrawClaimed    mutation = "a claimed attempt is withdrawn"
	isolationNot       mutation = "it is not remembered that a run was alone on its daemon"
	continueAfterTaken mutation = "an agent does not end its session when its Lease was taken"
)

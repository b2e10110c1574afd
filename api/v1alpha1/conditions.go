// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. Ready is always present; Reconciling and Stalled are present only while True, and never both
// (kstatus reads them). Scheduled, Running, Finished and Succeeded state facts of an HLBBuild's run; the other three
// are derived from them.
const (
	ConditionReady       = "Ready"
	ConditionReconciling = "Reconciling"
	ConditionStalled     = "Stalled"

	ConditionScheduled = "Scheduled"
	ConditionRunning   = "Running"
	// ConditionFinished is True once the run is over, however it ended, and False before.
	ConditionFinished = "Finished"
	// ConditionSucceeded is True once the run ended well, False once it ended otherwise, and Unknown before its end.
	ConditionSucceeded = "Succeeded"

	// ConditionCacheImported says whether the registry cache was read for this run; absent when the daemon was warm.
	ConditionCacheImported = "CacheImported"
	// ConditionCacheExported says how the best-effort export of the registry cache went; absent when none was due.
	ConditionCacheExported = "CacheExported"

	// ConditionScheduleAccepted is False on an HLBBuild whose spec.schedule can't be kept; absent when it has none.
	ConditionScheduleAccepted = "ScheduleAccepted"

	// ConditionVolumesResized says whether all volumes of a BuildCache have the wanted size; absent while it has none.
	ConditionVolumesResized = "VolumesResized"

	// ConditionDraining is True on a BuildDaemon that takes no new builds because its pod is going away.
	ConditionDraining = "Draining"
	// ConditionDiskPressure is True on a BuildDaemon whose volume is nearly full.
	ConditionDiskPressure = "DiskPressure"
	// ConditionRegistryCleaned says on a BuildDaemon how its agent's last clean-up of the registry went; absent on
	// daemons that have none to do. The ready daemon with the lowest ordinal does it for all.
	ConditionRegistryCleaned = "RegistryCleaned"
	// ConditionGCPolicyInForce is False on a BuildDaemon whose buildkitd collects garbage by other rules than the
	// operator's.
	ConditionGCPolicyInForce = "GCPolicyInForce"
	// ConditionStepsIsolated says on a BuildDaemon whether build steps have networks of their own.
	ConditionStepsIsolated = "StepsIsolated"
)

// Reasons of an HLBBuild's conditions and events.
const (
	// ReasonPending surfaces when a run was opened and not yet looked at by the scheduler.
	ReasonPending = "Pending"
	// ReasonNoDaemonFits surfaces when no daemon can take the build now; the message counts why.
	ReasonNoDaemonFits = "NoDaemonFits"
	// ReasonWaitingForDaemon surfaces when waiting for a busy daemon is cheaper than running on a free one.
	ReasonWaitingForDaemon = "WaitingForDaemon"
	// ReasonCacheNotFound surfaces when spec.cacheRef names no BuildCache.
	ReasonCacheNotFound = "CacheNotFound"
	// ReasonNamespaceNotAllowed surfaces when spec.cacheRef names a BuildCache of another namespace that does not admit
	// the build's by spec.allowedNamespaces.
	ReasonNamespaceNotAllowed = "NamespaceNotAllowed"
	// ReasonDaemonChosen surfaces when the build was bound to a daemon; the message says why to that one.
	ReasonDaemonChosen = "DaemonChosen"
	// ReasonAwaitingAgent surfaces when a bound build was not yet taken up by the daemon's agent.
	ReasonAwaitingAgent = "AwaitingAgent"
	// ReasonAwaitingRelease surfaces while an attempt that is no longer wanted may still be executing.
	ReasonAwaitingRelease = "AwaitingRelease"
	// ReasonSolving surfaces while the agent compiles and solves the program.
	ReasonSolving = "Solving"
	// ReasonRetrying surfaces when an attempt was lost to infrastructure and another one is being prepared.
	ReasonRetrying = "Retrying"
	// ReasonFinished surfaces on Running when the run is over.
	ReasonFinished = "Finished"
	// ReasonSucceeded surfaces when every target was built and every output pushed.
	ReasonSucceeded = "Succeeded"

	// ReasonCompileFailed surfaces when the program has errors; status.failure.diagnostics lists them.
	ReasonCompileFailed = "CompileFailed"
	// ReasonCompileLimitExceeded surfaces when compiling the program took more memory, time or room than a compile may,
	// so that it was ended; the message names the limit.
	ReasonCompileLimitExceeded = "CompileLimitExceeded"
	// ReasonSourceFailed surfaces when the program or its context can't be read.
	ReasonSourceFailed = "SourceFailed"
	// ReasonSolveFailed surfaces when a step of the build failed.
	ReasonSolveFailed = "SolveFailed"
	// ReasonExportFailed surfaces when an output could not be pushed.
	ReasonExportFailed = "ExportFailed"
	// ReasonDeadlineExceeded surfaces when spec.timeoutSeconds or spec.activeDeadlineSeconds ran out.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonSecretNotFound surfaces when a Secret that the build names, or its key, is missing; the build waits for it.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSourceNotFound surfaces when the ConfigMap of the build's source, or its key with the program, is missing;
	// the build waits for it.
	ReasonSourceNotFound = "SourceNotFound"
	// ReasonSecretNotAllowed surfaces when spec.secretPolicy of the BuildCache does not allow a Secret that the build
	// names; the build waits for it.
	ReasonSecretNotAllowed = "SecretNotAllowed"
	// ReasonNotPermitted surfaces when the build asks for something its BuildCache does not grant: an entitlement, a
	// source, a place to push to. Where the program asks for it, a diagnostic of CompileFailed has the place.
	ReasonNotPermitted = "NotPermitted"
	// ReasonDaemonLost surfaces when the daemon of an attempt, or its agent, died; the build is retried elsewhere.
	ReasonDaemonLost = "DaemonLost"
	// ReasonLeaseLost surfaces when the agent of an attempt could not renew its Lease and ended all it ran; the build
	// is retried elsewhere.
	ReasonLeaseLost = "LeaseLost"
	// ReasonAgentSilent surfaces when an agent has not reported the end of an attempt in time; the build is retried
	// elsewhere.
	ReasonAgentSilent = "AgentSilent"
	// ReasonAPIUnavailable surfaces when the agent could not ask the API server for what a build names; the build is
	// retried.
	ReasonAPIUnavailable = "APIUnavailable"
	// ReasonRemoteUnavailable surfaces when a registry or git server answered 429 or 5xx or broke a connection off,
	// more often than BuildKit tries by itself; the build is retried.
	ReasonRemoteUnavailable = "RemoteUnavailable"
	// ReasonInternalError surfaces when the agent failed at a build by a fault of its own; the build is retried.
	ReasonInternalError = "InternalError"
	// ReasonDiskFull surfaces when the daemon's volume was full; the build is retried elsewhere.
	ReasonDiskFull = "DiskFull"
	// ReasonOutOfMemory surfaces when a step was killed for want of memory; the build is retried alone on its daemon,
	// and fails if it was alone already.
	ReasonOutOfMemory = "OutOfMemory"
	// ReasonDaemonDraining surfaces when a daemon shut down before a build on it was done, as in a roll-out, an
	// eviction or a drain of its node; the build is retried without using up spec.retryLimit.
	ReasonDaemonDraining = "DaemonDraining"
	// ReasonDaemonRemoved surfaces when a daemon was scaled away or deleted with a build on it; the build is retried
	// without using up spec.retryLimit.
	ReasonDaemonRemoved = "DaemonRemoved"
	// ReasonPoisonBuild surfaces when a daemon died under a build that ran alone on it, after others had died under the
	// build; it is not tried again.
	ReasonPoisonBuild = "PoisonBuild"
	// ReasonQueueFull surfaces when more builds wait for a BuildCache than its spec.queue.maxPending; the build waits
	// until there is room.
	ReasonQueueFull = "QueueFull"
	// ReasonCancelled surfaces when a newer run replaced one in flight, or spec.suspend cancelled it.
	ReasonCancelled = "Cancelled"

	// ReasonVolumesAsWanted surfaces when every volume has the wanted size.
	ReasonVolumesAsWanted = "VolumesAsWanted"
	// ReasonExpanding surfaces while volumes grow.
	ReasonExpanding = "Expanding"
	// ReasonExpansionUnsupported surfaces when the storage class lets no volume grow.
	ReasonExpansionUnsupported = "ExpansionUnsupported"
	// ReasonExpansionFailed surfaces when a claim was not allowed to grow or its driver failed to.
	ReasonExpansionFailed = "ExpansionFailed"

	// ReasonInvalidSchedule surfaces when spec.schedule has an expression that never comes or a time zone that there
	// is not.
	ReasonInvalidSchedule = "InvalidSchedule"
	// ReasonSuspended surfaces when spec.suspend holds a build or its schedule.
	ReasonSuspended = "Suspended"
	// ReasonScheduleKept surfaces when runs are opened by the clock.
	ReasonScheduleKept = "ScheduleKept"

	// ReasonImported surfaces when the registry cache was offered to the solve of a fresh daemon.
	ReasonImported = "Imported"
	// ReasonImportUnavailable surfaces when there was no registry cache to import, or it could not be read.
	ReasonImportUnavailable = "ImportUnavailable"
	// ReasonExported surfaces when the registry cache was written.
	ReasonExported = "Exported"
	// ReasonNothingToExport surfaces when the build has no step that a registry cache could hold.
	ReasonNothingToExport = "NothingToExport"
	// ReasonPrimeFailed surfaces as an event when a cache mount could not be filled in time; the build began without.
	ReasonPrimeFailed = "PrimeFailed"
	// ReasonCacheExportFailed surfaces when writing the registry cache failed; the build is not affected.
	ReasonCacheExportFailed = "CacheExportFailed"
)

// Reasons of events about snapshots of cache mounts, on a BuildDaemon.
const (
	// ReasonSnapshotPushed surfaces when a mount's content was pushed as an image.
	ReasonSnapshotPushed = "SnapshotPushed"
	// ReasonSnapshotFailed surfaces when a snapshot was due and could not be made.
	ReasonSnapshotFailed = "SnapshotFailed"
	// ReasonSnapshotOverdue surfaces when a snapshot that is due was put off for an hour, since builds use the mount
	// all the time or fail.
	ReasonSnapshotOverdue = "SnapshotOverdue"
	// ReasonSnapshotCleanUpFailed surfaces when an old snapshot could not be deleted, as with registries that refuse
	// to.
	ReasonSnapshotCleanUpFailed = "SnapshotCleanUpFailed"
)

// Reasons of a BuildCache's and a BuildDaemon's conditions.
const (
	// ReasonExpiredTagsDeleted surfaces when tags older than registry.retention.maxAgeSeconds were looked for, and what
	// was found is gone.
	ReasonExpiredTagsDeleted = "ExpiredTagsDeleted"
	// ReasonOrphanedTagsDeleted surfaces when the tags of a BuildCache that is being deleted are gone, so that the
	// deletion may go on.
	ReasonOrphanedTagsDeleted = "OrphanedTagsDeleted"
	// ReasonDeletesRefused surfaces when the registry deletes no tags, or none for these credentials. Nothing but
	// another registry or Secret helps.
	ReasonDeletesRefused = "DeletesRefused"
	// ReasonOrphanedTagsRefused surfaces when the registry deletes none of the tags of a BuildCache that is being
	// deleted. The deletion goes on without.
	ReasonOrphanedTagsRefused = "OrphanedTagsRefused"
	// ReasonCleanUpFailed surfaces when the registry could not be looked at; it is tried again.
	ReasonCleanUpFailed = "CleanUpFailed"

	// ReasonInUse surfaces on a BuildCache that is deleted and protected while builds run; the message counts them.
	ReasonInUse = "InUse"
	// ReasonNamespaceTerminating surfaces when the BuildCache's namespace is being deleted: all builds end.
	ReasonNamespaceTerminating = "NamespaceTerminating"
	// ReasonRetryingAfterError surfaces while the API server, not the object, is the trouble; it is tried again.
	ReasonRetryingAfterError = "RetryingAfterError"
	// ReasonAllDaemonsReady surfaces when every daemon the spec asks for is Ready.
	ReasonAllDaemonsReady = "AllDaemonsReady"
	// ReasonDaemonsNotReady surfaces when some daemons are starting, rolling out or away.
	ReasonDaemonsNotReady = "DaemonsNotReady"
	// ReasonScaledToZero surfaces when the spec asks for no daemon.
	ReasonScaledToZero = "ScaledToZero"
	// ReasonNameConflict surfaces when an object of a needed name exists and belongs to somebody else.
	ReasonNameConflict = "NameConflict"
	// ReasonApplyRefused surfaces when the API server keeps refusing an object that the spec asks for: a quota, an
	// admission policy, or a value that the object can't have.
	ReasonApplyRefused = "ApplyRefused"
	// ReasonInvalidConfig surfaces when the daemon configuration can't be generated from the spec.
	ReasonInvalidConfig = "InvalidConfig"

	// ReasonDaemonServing surfaces when the daemon answers and its agent takes builds.
	ReasonDaemonServing = "DaemonServing"
	// ReasonDaemonUnreachable surfaces when the agent can't reach its buildkitd.
	ReasonDaemonUnreachable = "DaemonUnreachable"
	// ReasonDaemonStuck surfaces when buildkitd answers, or seems to, but solves nothing. It is restarted.
	ReasonDaemonStuck = "DaemonStuck"
	// ReasonVersionSkew surfaces when buildkitd is too old for the operator: it would leave out what it does not know,
	// such as the limits of steps.
	ReasonVersionSkew = "VersionSkew"
	// ReasonDiskStalled surfaces when the daemon's volume takes no writes.
	ReasonDiskStalled = "DiskStalled"
	// ReasonCoolingDown surfaces when the daemon works again after it failed more than once within an hour; it takes
	// builds again after a pause, which the message names.
	ReasonCoolingDown = "CoolingDown"
	// ReasonLeaseExpired surfaces when the agent has not renewed its Lease in time.
	ReasonLeaseExpired = "LeaseExpired"
	// ReasonAgentStopped surfaces when the agent has ended in order and released its Lease.
	ReasonAgentStopped = "AgentStopped"
	// ReasonNotStarted surfaces on a BuildDaemon whose agent has never reported.
	ReasonNotStarted = "NotStarted"
	// ReasonScaledDown surfaces on a BuildDaemon whose pod was scaled away; its volume waits for it to come back.
	ReasonScaledDown = "ScaledDown"
	// ReasonVolumeNearlyFull surfaces when the volume passed its fill threshold.
	ReasonVolumeNearlyFull = "VolumeNearlyFull"
	// ReasonVolumeHasSpace surfaces when the volume is below its fill threshold.
	ReasonVolumeHasSpace = "VolumeHasSpace"
	// ReasonInodesNearlyFull surfaces when the volume has space, but few inodes left.
	ReasonInodesNearlyFull = "InodesNearlyFull"
	// ReasonGCPolicyAsConfigured surfaces when buildkitd says back the rules that the operator configured.
	ReasonGCPolicyAsConfigured = "GCPolicyAsConfigured"
	// ReasonGCPolicyDiffers surfaces when it says back others: cache mounts may be deleted that should stay.
	ReasonGCPolicyDiffers = "GCPolicyDiffers"
	// ReasonOwnNetworks surfaces when each build step has a network of its own.
	ReasonOwnNetworks = "OwnNetworks"
	// ReasonNetworksUnsupported surfaces when steps share the network of the daemon's pod because the node can't give
	// them their own; the message says why.
	ReasonNetworksUnsupported = "NetworksUnsupported"
	// ReasonPodNetwork surfaces when steps share the network of the daemon's pod because the BuildCache wants it.
	ReasonPodNetwork = "PodNetwork"
	// ReasonPruned surfaces when the agent pruned cache mounts; the message says which and why.
	ReasonPruned = "Pruned"
	// ReasonPrefetched surfaces as an event when the daemon brought a cache mount in ahead of builds.
	ReasonPrefetched = "Prefetched"
	// ReasonPrefetchFailed surfaces as an event when it could not or had no room; builds are not affected.
	ReasonPrefetchFailed = "PrefetchFailed"
	// ReasonShuttingDown surfaces on Draining while the agent waits for its running builds.
	ReasonShuttingDown = "ShuttingDown"
	// ReasonInService surfaces on Draining when the daemon takes builds.
	ReasonInService = "InService"
)

// Reasons of a BuildDaemon's Ready condition for which its pod does not come up. The BuildCache's Ready condition has
// that of its first daemon in trouble. Where waiting does not help, both are Stalled.
const (
	// ReasonPodSecurityRefused surfaces when the namespace's Pod Security level refuses the pod.
	ReasonPodSecurityRefused = "PodSecurityRefused"
	// ReasonQuotaExceeded surfaces when a ResourceQuota refuses the pod.
	ReasonQuotaExceeded = "QuotaExceeded"
	// ReasonLimitRangeRefused surfaces when a LimitRange refuses the pod.
	ReasonLimitRangeRefused = "LimitRangeRefused"
	// ReasonPodRefused surfaces when the API server refuses the pod otherwise, as admission webhooks do.
	ReasonPodRefused = "PodRefused"
	// ReasonUnschedulable surfaces when no node takes the pod; the message is the scheduler's.
	ReasonUnschedulable = "Unschedulable"
	// ReasonVolumePending surfaces when the claim gets no volume, or the volume can't be mounted.
	ReasonVolumePending = "VolumePending"
	// ReasonImagePullFailed surfaces when an image of the pod can't be pulled.
	ReasonImagePullFailed = "ImagePullFailed"
	// ReasonContainerFailed surfaces when the node can't start a container of the pod.
	ReasonContainerFailed = "ContainerFailed"
	// ReasonCrashLoop surfaces when a container of the pod ends again and again.
	ReasonCrashLoop = "CrashLoop"
	// ReasonUserNamespacesRefused surfaces when the node has no user namespaces for the pod.
	ReasonUserNamespacesRefused = "UserNamespacesRefused"
	// ReasonNodeLost surfaces when the node of the pod does not answer.
	ReasonNodeLost = "NodeLost"
)

//! The points where `trees` can be killed on purpose: before and after each change of durable state.
//!
//! Only a build with the feature `failpoints` has them; in any other [`hit`] is empty and gone. The
//! tests in `tests/faults/points.rs` walk over [`Point::ALL`], and a point that nothing reaches
//! fails them. What a build with them is told by its environment:
//!
//! - `TREES_FAILPOINT=NAME[:N][:WHO]`: with the N-th time (first: 1) that this process is there, SIGKILL
//!   for the `engine` itself (the default), for each `child` with its group, or for `both`.
//! - `TREES_FAILPOINT_LOG=FILE`: each time gets a line, `NAME`, and a kill one more,
//!   `killed NAME CHILDREN`.

#[cfg(feature = "failpoints")]
mod armed;

/// Whether this build has them.
pub const ON: bool = cfg!(feature = "failpoints");

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A point.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// Its name in the environment.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// Nothing has been looked at.
    BeforePlan = "before-plan",
    /// The tree is checked and nothing recorded.
    AfterPlan = "after-plan",
    /// The folder is there, the database not or not up to date.
    BeforeMigration = "before-migration",
    /// The database keeps a log; its schema is the old one, or it is new and has no name yet.
    LogChosen = "log-chosen",
    /// A new database is whole, but not on the disk and without its name.
    DatabaseMade = "database-made",
    /// The schema is the new one.
    AfterMigration = "after-migration",
    /// Work of any sort is done and not committed.
    BeforeCommit = "before-commit",
    /// It is committed and nobody knows.
    AfterCommit = "after-commit",
    /// The run's lock is held and not signed.
    LockTaken = "lock-taken",
    /// It is signed.
    LockSigned = "lock-signed",
    /// The run has a folder and no row.
    BeforeRunCreated = "before-run-created",
    /// It has a row and no event.
    AfterRunCreated = "after-run-created",
    /// A later sitting holds the lock, with the former epoch.
    BeforeRunHeld = "before-run-held",
    /// The epoch is raised.
    AfterRunHeld = "after-run-held",
    /// A lock of the tree or a step is held and not signed.
    NameLockTaken = "name-lock-taken",
    /// It is signed.
    NameLockSigned = "name-lock-signed",
    /// Around the record of the run's start.
    BeforeRunStarted = "before-run-started",
    /// Recorded.
    AfterRunStarted = "after-run-started",
    /// Around the record of a step's start.
    BeforeStepStarted = "before-step-started",
    /// Recorded.
    AfterStepStarted = "after-step-started",
    /// Around the record of a fan-out's instances.
    BeforeExpanded = "before-expanded",
    /// Recorded.
    AfterExpanded = "after-expanded",
    /// Around the record of an intent of a step kind.
    BeforeIntent = "before-intent",
    /// Recorded; the kind has not heard.
    AfterIntent = "after-intent",
    /// Around the record of an action that a verify follows.
    BeforeActionEnded = "before-action-ended",
    /// Recorded.
    AfterActionEnded = "after-action-ended",
    /// Around the record of a step's end, whatever its outcome.
    BeforeStepEnded = "before-step-ended",
    /// Recorded.
    AfterStepEnded = "after-step-ended",
    /// Around the record of a failed attempt that another follows.
    BeforeRetryWait = "before-retry-wait",
    /// Recorded; the wait begins.
    AfterRetryWait = "after-retry-wait",
    /// Around the record of a cancel.
    BeforeCancel = "before-cancel",
    /// Recorded; nothing is ended yet.
    AfterCancel = "after-cancel",
    /// Around the record of a rollback's start.
    BeforeRollback = "before-rollback",
    /// Recorded.
    AfterRollback = "after-rollback",
    /// Around the record that an undo starts.
    BeforeUndoStarted = "before-undo-started",
    /// Recorded.
    AfterUndoStarted = "after-undo-started",
    /// Around the record of an undo's end, whatever its outcome.
    BeforeUndoEnded = "before-undo-ended",
    /// Recorded.
    AfterUndoEnded = "after-undo-ended",
    /// Around the record of a later sitting.
    BeforeResumed = "before-resumed",
    /// Recorded.
    AfterResumed = "after-resumed",
    /// Around the record that a sitting ended and the run rests.
    BeforeSuspended = "before-suspended",
    /// Recorded.
    AfterSuspended = "after-suspended",
    /// Around the record of the run's end.
    BeforeRunFinished = "before-run-finished",
    /// Recorded.
    AfterRunFinished = "after-run-finished",
    /// What was recorded is performed and told.
    Published = "published",
    /// A later sitting begins; nothing is read.
    BeforeRecovery = "before-recovery",
    /// The record is read and replayed.
    Replayed = "replayed",
    /// What a crash left is about to be ended.
    BeforeLeftovers = "before-leftovers",
    /// It is ended and this is not recorded.
    AfterLeftovers = "after-leftovers",
    /// A process is about to be started.
    BeforeSpawn = "before-spawn",
    /// It runs and is in no list.
    Spawned = "spawned",
    /// It is in the list of the run.
    Registered = "registered",
    /// Output has been read and is not in the log.
    OutputRead = "output-read",
    /// It is in the log.
    OutputKept = "output-kept",
    /// The process has ended and is reaped.
    ChildEnded = "child-ended",
    /// The driver hears of an attempt's end and has not decided.
    EndHeard = "end-heard",
    /// An artifact is about to be kept.
    BeforeArtifact = "before-artifact",
    /// It is copied aside.
    ArtifactAside = "artifact-aside",
    /// It has its name; the folder is not synced.
    ArtifactNamed = "artifact-named",
    /// It is kept and nobody knows.
    AfterArtifact = "after-artifact",
    /// A cached artifact is copied aside, to be put back.
    RestoreAside = "restore-aside",
    /// What stood in its place is moved away.
    RestoreCleared = "restore-cleared",
    /// It is back.
    Restored = "restored",
    /// A file of a step kind is written aside.
    FileAside = "file-aside",
    /// It has its name; its folder is not synced.
    FileNamed = "file-named",
    /// A request of another process is about to be recorded.
    BeforeRequest = "before-request",
    /// Recorded.
    AfterRequest = "after-request",
    /// A new master key is written aside.
    KeyAside = "key-aside",
    /// It has its name; its folder is not synced.
    KeyNamed = "key-named",
    /// A secret is about to be sealed.
    BeforeSecret = "before-secret",
    /// It is in the store.
    AfterSecret = "after-secret",
    /// Old runs are chosen and locked.
    BeforeRunsRemoved = "before-runs-removed",
    /// They are gone from the database.
    RunsRemoved = "runs-removed",
    /// A folder of one is gone.
    RunFolderRemoved = "run-folder-removed",
    /// Old artifacts are chosen.
    BeforeArtifactsForgotten = "before-artifacts-forgotten",
    /// No result names them.
    ArtifactsForgotten = "artifacts-forgotten",
    /// One is gone.
    ArtifactRemoved = "artifact-removed",
    /// An imported run is about to be unpacked.
    BeforeUnpacked = "before-unpacked",
    /// It is unpacked aside and verified.
    Unpacked = "unpacked",
    /// Its artifacts are kept and its logs in place.
    ImportMoved = "import-moved",
    /// It is in the database.
    Imported = "imported",
}

/// This process is at a point.
#[cfg(feature = "failpoints")]
pub fn hit(point: Point) {
    armed::hit(point);
}

/// This process is at a point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn hit(_: Point) {}

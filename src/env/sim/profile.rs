//! Which promises a file system keeps beyond those of POSIX.

use super::fault::AfterFailedSync;

/// What a simulated file system may do at a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// For messages.
    pub name: &'static str,
    /// Folder operations reach the disk in the order they were made; otherwise any subset of them may.
    pub ordered_entries: bool,
    /// Syncing a new file also makes its name durable.
    pub sync_persists_entry: bool,
    /// A file's new length reaches the disk only after the data below it.
    pub size_after_data: bool,
    /// Grown space whose data didn't reach the disk may hold what lay there before, not zeros.
    pub stale_garbage: bool,
    /// Its files lie on another machine; the name of its protocol.
    pub network: Option<&'static str>,
    /// What a failed sync leaves in the page cache, unless told otherwise.
    pub after_failed_sync: AfterFailedSync,
}

impl Profile {
    /// Nothing but what POSIX promises. The default.
    pub const STRICT_POSIX: Profile = Profile {
        name: "strict-posix",
        ordered_entries: false,
        sync_persists_entry: false,
        size_after_data: false,
        stale_garbage: true,
        network: None,
        after_failed_sync: AfterFailedSync::NewAndClean,
    };
    /// ext4 as it is mounted by default.
    pub const EXT4_ORDERED: Profile = Profile {
        name: "ext4-ordered",
        ordered_entries: true,
        sync_persists_entry: true,
        size_after_data: true,
        stale_garbage: false,
        network: None,
        after_failed_sync: AfterFailedSync::NewAndClean,
    };
    /// ext4 with `data=writeback`.
    pub const EXT4_WRITEBACK: Profile =
        Profile { name: "ext4-writeback", size_after_data: false, stale_garbage: true, ..Profile::EXT4_ORDERED };
    /// Ordered entries, zeros where a length outran its data.
    pub const XFS_LIKE: Profile = Profile { name: "xfs-like", size_after_data: false, ..Profile::EXT4_ORDERED };
    /// Shows the old content after a failed sync.
    pub const BTRFS_LIKE: Profile =
        Profile { name: "btrfs-like", after_failed_sync: AfterFailedSync::OldAndClean, ..Profile::EXT4_ORDERED };

    /// All of them.
    pub const ALL: &'static [Profile] = &[
        Profile::STRICT_POSIX,
        Profile::EXT4_ORDERED,
        Profile::EXT4_WRITEBACK,
        Profile::XFS_LIKE,
        Profile::BTRFS_LIKE,
    ];
}

//! Small file systems of one's own, where there is the right to mount; taken away again when dropped.

// Each test binary uses its own part.
#![allow(dead_code)]

use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says that a test, or a part of one, can't be run here: where everybody sees it, not with the output of tests, which is kept back
/// from those that pass. With `BRAIDLOG_NO_SKIPS=1`, which is for machines that allow everything, the test fails.
pub fn skipped(why: impl Display) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
    let allowed = std::env::var("BRAIDLOG_NO_SKIPS").map_or(true, |value| value != "1");
    assert!(allowed, "skipped where nothing may be: {why}");
}

/// A mounted file system.
pub struct Mounted {
    folder: tempfile::TempDir,
}

impl Mounted {
    /// Gives a tmpfs another size.
    pub fn grow(&self, mib: u64) -> Result<(), String> {
        run("mount", &["-o", &format!("remount,size={mib}m"), self.point().to_str().unwrap()])
    }

    pub fn point(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    /// The loop device below it, by the name the kernel has for it.
    pub fn device(&self) -> String {
        let point = self.point();
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1).is_some_and(|at| Path::new(at) == point)).unwrap();
        line.split(' ').next().unwrap().trim_start_matches("/dev/").to_owned()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.point()).output();
    }
}

pub fn run(program: &str, args: &[&str]) -> Result<(), String> {
    match Command::new(program).args(args).output() {
        Err(error) => Err(format!("{program}: {error}")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A new file system in a file, to be mounted by [`mount_image`].
pub fn make_image(image: &Path, kind: &str, mib: u64) -> Result<(), String> {
    fs::File::create(image).and_then(|file| file.set_len(mib << 20)).map_err(|e| e.to_string())?;
    run(&format!("mkfs.{kind}"), &["-q", "-F", "-m", "0", image.to_str().unwrap()])
}

fn mount_with(arguments: &[&str], folder: tempfile::TempDir) -> Result<Mounted, String> {
    let mounted = Mounted { folder };
    let point = mounted.point();
    fs::create_dir(&point).map_err(|e| e.to_string())?;
    run("mount", &[arguments, &[point.to_str().unwrap()]].concat()).map(|()| mounted)
}

/// Mounts what [`make_image`] made, by a loop device.
pub fn mount_image(image: &Path) -> Result<Mounted, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    mount_with(&["-o", "loop,errors=remount-ro", image.to_str().unwrap()], folder)
}

/// Mounts a small file system, or says why it can't.
pub fn mount(kind: &str, mib: u64) -> Option<Mounted> {
    let folder = tempfile::tempdir().unwrap();
    let outcome = if kind == "tmpfs" {
        mount_with(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"], folder)
    } else {
        let image = folder.path().join("image");
        make_image(&image, kind, mib).and_then(|()| mount_with(&["-o", "loop", image.to_str().unwrap()], folder))
    };
    outcome.inspect_err(|why| skipped(format_args!("{kind} of {mib} MiB can't be mounted here ({why})"))).ok()
}

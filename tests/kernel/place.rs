//! Where file systems are made, filled, and cut off: a folder and a mount namespace of its own.
//!
//! The namespace lives as long as a shell in it, which ends when its standard input does: so mounts, and with them the loop
//! devices, go whether a test passes, panics or is killed. The invariant it owns: nothing that is mounted here is seen, or
//! stays, anywhere else.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A file system that the kernel may or may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

/// A namespace, and a folder for images.
pub(crate) struct Place {
    /// Dropped first: whoever waits for its end sees the mounts gone.
    holder: Holder,
    folder: TempDir,
}

impl Place {
    /// A place with room for file systems of these kinds, or what is missing for it.
    pub(crate) fn new(kinds: &[Kind]) -> Result<Place, String> {
        let id = Command::new("id").arg("-u").output().map_err(|error| format!("id: {error}"))?;
        if id.stdout != b"0\n" {
            return Err("only root may mount".to_owned());
        }
        for kind in kinds {
            let version = Command::new(kind.maker()).arg("-V").output();
            version.map_err(|error| format!("{}: {error}", kind.maker()))?;
        }
        // In memory, where there is such a place: what is slow about a disk says nothing about a log.
        let memory = Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("a temporary folder");
        let place = Place { holder: Holder::new()?, folder };
        for &kind in kinds {
            place.make(kind, "probe", 320)?;
            std::fs::create_dir_all(place.path("probed")).expect("a new folder");
            place.mount(kind, &place.path("probe"), "probed")?;
            place.unmount("probed")?;
            std::fs::remove_file(place.path("probe")).expect("an image");
        }
        Ok(place)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The words that have a command run in the namespace.
    pub(crate) fn inside(&self) -> Vec<String> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.shell.id());
        ["nsenter", &namespace, "--"].map(str::to_owned).to_vec()
    }

    /// Runs a script in the namespace, in the folder. What it prints, or what went wrong.
    pub(crate) fn script(&self, script: &str) -> Result<String, String> {
        let inside = self.inside();
        let mut command = Command::new(&inside[0]);
        command.args(&inside[1..]).args(["sh", "-ec", &format!("cd '{}'\n{script}", self.folder.path().display())]);
        let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{}: {error}", inside[0]))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(format!("{script:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// An empty file system in an image of so many MiB.
    pub(crate) fn make(&self, kind: Kind, image: &str, mib: u64) -> Result<(), String> {
        let options = match kind {
            Kind::Ext4 => "-q -F",
            // Small ones are refused, and shared extents are what others cut off with.
            Kind::Xfs => "-q -m reflink=1",
            // Small ones have room for little but metadata, unless data lies among it.
            Kind::Btrfs if mib < 200 => "-q --mixed",
            Kind::Btrfs => "-q",
        };
        self.script(&format!("truncate -s {mib}M '{image}' && {} {options} '{image}' 2>&1", kind.maker())).map(drop)
    }

    pub(crate) fn mount(&self, kind: Kind, image: &Path, at: &str) -> Result<(), String> {
        let options = match kind {
            Kind::Ext4 => "loop",
            // Images that are copies of each other have one identity.
            Kind::Xfs => "loop,nouuid",
            Kind::Btrfs => "loop",
        };
        if kind == Kind::Btrfs {
            // What the kernel remembers of another copy, which may be newer. There may be nothing to forget.
            self.script("btrfs device scan --forget || true")?;
        }
        self.script(&format!("mkdir -p '{at}' && mount -t {} -o {options} '{}' '{at}'", kind.name(), image.display()))
            .map(drop)
    }

    pub(crate) fn unmount(&self, at: &str) -> Result<(), String> {
        // A process that was just killed may still be on its way out.
        self.script(&format!("for n in 1 2 3 4 5 6 7 8; do umount '{at}' && exit 0; sleep 0.1; done; exit 1")).map(drop)
    }
}

/// The shell that keeps the namespace.
struct Holder {
    shell: Child,
}

impl Holder {
    fn new() -> Result<Holder, String> {
        let mut shell = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "sh", "-c", "echo ready; read -r end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut said = String::new();
        let output = shell.stdout.take().expect("a pipe");
        let read = BufReader::new(output).read_line(&mut said);
        let holder = Holder { shell };
        match read {
            Ok(_) if said == "ready\n" => Ok(holder),
            _ => Err("no mount namespace can be made here".to_owned()),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Btrfs => "btrfs",
        }
    }

    fn maker(self) -> &'static str {
        match self {
            Kind::Ext4 => "mkfs.ext4",
            Kind::Xfs => "mkfs.xfs",
            Kind::Btrfs => "mkfs.btrfs",
        }
    }
}

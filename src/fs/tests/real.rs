//! What only the real disk has: links, pipes, names that are not UTF-8, other processes.
#![allow(clippy::disallowed_methods, reason = "the tests of the seam look behind it")]

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use super::*;
use crate::fs::{EntryKind, LockKind, write_all_at};
use crate::offset::Position;

/// Whether `flock` of another process gets the lock right now; `None` if this machine has no such program.
fn another_process_gets(path: &Path, kind: &str) -> Option<bool> {
    let status = Command::new("flock").args(["--nonblock", kind]).arg(path).arg("true").status();
    match status {
        Ok(status) => Some(status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("SKIPPED: this machine has no `flock`, so nothing was tried from another process");
            None
        }
        Err(error) => panic!("flock does not start: {error}"),
    }
}

#[test]
fn a_lock_excludes_another_process() {
    let ground = Ground::real();
    let path = ground.path(".lock");
    let lock = ground.env.try_lock(&path, LockKind::Exclusive).unwrap().expect("nobody holds it");
    let Some(gets) = another_process_gets(&path, "--shared") else { return };
    assert!(!gets);
    drop(lock);
    assert_eq!(another_process_gets(&path, "--exclusive"), Some(true));
    let _shared = ground.env.try_lock(&path, LockKind::Shared).unwrap().expect("nobody holds it");
    assert_eq!(another_process_gets(&path, "--shared"), Some(true));
    assert_eq!(another_process_gets(&path, "--exclusive"), Some(false));
}

#[test]
fn a_lock_of_another_process_is_respected() {
    let ground = Ground::real();
    let path = ground.path(".lock");
    if another_process_gets(&path, "--exclusive").is_none() {
        return;
    }
    let mut holder = Command::new("flock")
        .args(["--exclusive", path.to_str().unwrap(), "sh", "-c", "echo held; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    for kind in [LockKind::Exclusive, LockKind::Shared] {
        assert!(ground.env.try_lock(&path, kind).unwrap().is_none());
    }
    holder.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(holder.wait().unwrap().success());
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_some());
}

/// A JVM locks by POSIX record locks: it must be kept out, and be noticed.
#[test]
fn a_posix_lock_of_another_process_excludes_and_is_noticed() {
    let ground = Ground::real();
    let path = ground.path(".lock");
    ground.create(".lock");
    let script = "import fcntl, sys\nf = open(sys.argv[1], 'r+')\nfcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\n\
                  print('held', flush=True)\nsys.stdin.readline()";
    let python = |script: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn()
    };
    let Ok(mut holder) = python(script) else {
        eprintln!("SKIPPED: this machine has no `python3`, so no POSIX lock was tried");
        return;
    };
    let mut said = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert!(ground.env.is_locked(&path).unwrap());
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_none());
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    let _lock = ground.env.try_lock(&path, LockKind::Exclusive).unwrap().expect("free again");
    assert!(!python(script).unwrap().wait().unwrap().success(), "our lock keeps a POSIX lock out");
}

#[test]
fn a_lock_that_failed_halfway_leaves_nothing_held() {
    let ground = Ground::real();
    let path = ground.path(".lock");
    let shared = ground.env.try_lock(&path, LockKind::Shared).unwrap();
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_none());
    drop(shared);
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_some());
}

#[test]
fn a_lock_through_a_symbolic_link_is_the_lock_of_its_target() {
    let ground = Ground::real();
    ground.env.create_dir(&ground.path("d")).unwrap();
    symlink(ground.path("d"), ground.path("link")).unwrap();
    symlink(ground.path("d/.lock"), ground.path("lock-link")).unwrap();
    let _lock = ground.env.try_lock(&ground.path("d/.lock"), LockKind::Exclusive).unwrap().expect("nobody holds it");
    for path in ["link/.lock", "lock-link"] {
        assert!(ground.env.is_locked(&ground.path(path)).unwrap());
        assert!(ground.env.try_lock(&ground.path(path), LockKind::Exclusive).unwrap().is_none());
    }
    assert_eq!(ground.env.canonicalize(&ground.path("link/.lock")).unwrap(), ground.path("d/.lock"));
}

#[test]
fn a_descriptor_that_a_child_inherited_does_not_keep_the_lock() {
    let ground = Ground::real();
    let path = ground.path(".lock");
    let lock = ground.env.try_lock(&path, LockKind::Exclusive).unwrap().expect("nobody holds it");
    let crate::fs::LockInner::Real(real) = &lock._inner else { unreachable!("the real half") };
    let inherited = real.inherited();
    drop(lock);
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_some());
    drop(inherited);
}

#[test]
fn a_listing_sees_names_that_are_not_utf_8_and_where_links_lead() {
    let ground = Ground::real();
    let strange = OsStr::from_bytes(b"\xff\xfe.log");
    ground.env.open(&ground.dir.join(strange), OpenMode::CreateNew).unwrap();
    ground.env.create_dir(&ground.path("dir")).unwrap();
    symlink(ground.dir.join(strange), ground.path("to-file")).unwrap();
    symlink(ground.path("dir"), ground.path("to-dir")).unwrap();
    symlink(ground.path("missing"), ground.path("to-nothing")).unwrap();
    symlink(ground.path("to-itself"), ground.path("to-itself")).unwrap();
    symlink(ground.dir.join(strange).join("x"), ground.path("through-file")).unwrap();
    let mut found: Vec<_> =
        ground.env.list(&ground.dir).unwrap().into_iter().map(|entry| (entry.name, entry.kind)).collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        (OsStr::new("dir"), EntryKind::Directory),
        (OsStr::new("through-file"), EntryKind::Other),
        (OsStr::new("to-dir"), EntryKind::Directory),
        (OsStr::new("to-file"), EntryKind::File),
        (OsStr::new("to-itself"), EntryKind::Other),
        (OsStr::new("to-nothing"), EntryKind::Other),
        (strange, EntryKind::File),
    ];
    assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
}

#[test]
fn a_pipe_in_the_place_of_a_file_does_not_block() {
    let ground = Ground::real();
    let path = ground.path("pipe");
    match Command::new("mkfifo").arg(&path).status() {
        Ok(status) if status.success() => {}
        _ => {
            eprintln!("SKIPPED: this machine has no `mkfifo`");
            return;
        }
    }
    assert_eq!(ground.env.metadata(&path).unwrap().kind, EntryKind::Other);
    let file = ground.env.open(&path, OpenMode::Read).unwrap();
    file.read_at(&mut [0; 8], Position::ZERO).unwrap_err();
    assert!(!ground.env.is_locked(&path).unwrap_or(false));
}

#[test]
fn a_real_file_has_a_descriptor_and_a_simulated_one_has_none() {
    let real = Ground::real().create("a");
    assert!(real.descriptor().is_some());
    assert!(Ground::simulated().create("a").descriptor().is_none());
}

/// Rule 7: in append mode Linux would ignore the position.
#[test]
fn no_descriptor_is_in_append_mode_or_outlives_an_exec() {
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    let ground = Ground::real();
    for mode in [OpenMode::CreateNew, OpenMode::OpenOrCreate, OpenMode::ReadWrite, OpenMode::Read] {
        let file = ground.env.open(&ground.path("a"), mode).unwrap();
        let descriptor = file.descriptor().unwrap();
        let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.intersects(OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_DIRECT));
        let flags = FdFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
}

/// Rules 4 and 5: a device that has no pages to write says so to `fsync` and `fdatasync`; what does less says something else,
/// or nothing.
#[test]
fn a_sync_is_one_and_its_answer_is_heard() {
    let env = Ground::real().env;
    let device = Path::new("/dev/null");
    let file = env.open(device, OpenMode::ReadWrite).unwrap();
    assert_eq!(file.sync_data().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(env.sync_dir(device).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn sending_to_a_closed_peer_is_an_error() {
    for ground in [Ground::real(), Ground::simulated()] {
        let file = ground.create("a");
        write_all_at(&file, b"content", Position::ZERO).unwrap();
        let (out, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(peer);
        let error = file.send_to(out.as_fd(), Position::ZERO, 7).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}

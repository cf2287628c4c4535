//! The same random calls on both halves: every answer, every name and every byte must agree.

use std::io::{self, IoSlice, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::fs::LockKind;
use crate::fs::write_all_at;
use crate::offset::Position;

/// Few names and two levels, so that calls meet each other's results.
const NAMES: [&str; 9] = ["a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a", "c/a"];

const CALLS_BY_SEED: usize = 80;

/// Numbers below bounds, drawn from the simulated machine's own chance.
struct Chance(Env);

impl Chance {
    fn below(&self, bound: u64) -> u64 {
        self.0.random() % bound
    }

    fn one_of<T: Copy>(&self, items: &[T]) -> T {
        items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }
}

/// A call, the same for both halves. Files are opened for it and closed after it.
#[derive(Clone, Copy, Debug)]
enum Call {
    Open(&'static str, OpenMode),
    CreateDir(&'static str),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    Write(&'static str, u64, u8),
    SetLen(&'static str, u64),
    Allocate(&'static str, u64, u64),
    Metadata(&'static str),
    List(&'static str),
    /// Three parts one after the other.
    WriteParts(&'static str, u64, u8),
    /// Through a window on allocated room, with a read by a call and another store while it lives.
    Store(&'static str, u64, u8),
    /// As above, and the file is cut behind it.
    StoreAndCut(&'static str, u64, u8),
    /// Of a file whose first bytes are mapped.
    ReadMapped(&'static str),
    Send(&'static str, u64),
    Lock(&'static str, LockKind),
    Sync(&'static str),
    SyncDir(&'static str),
    Canonicalize(&'static str),
}

fn draw(chance: &Chance) -> Call {
    let name = chance.one_of(&NAMES);
    match chance.below(22) {
        0..3 => {
            let modes = [OpenMode::ReadWrite, OpenMode::OpenOrCreate, OpenMode::CreateNew];
            Call::Open(name, chance.one_of(&modes))
        }
        3 => Call::CreateDir(name),
        4..6 => Call::Rename(name, chance.one_of(&NAMES)),
        6 => Call::Remove(name),
        7 => Call::Write(name, chance.below(2000), byte(chance)),
        8 => Call::SetLen(name, chance.below(3000)),
        9 => Call::Allocate(name, chance.below(2000), chance.below(1000)),
        10 => Call::Metadata(name),
        11 => Call::List(name),
        12 => Call::WriteParts(name, chance.below(2000), byte(chance)),
        13 | 14 => Call::Store(name, chance.below(9000), byte(chance)),
        15 => Call::StoreAndCut(name, chance.below(9000), byte(chance)),
        16 => Call::ReadMapped(name),
        17 => Call::Send(name, chance.below(3000)),
        18 => Call::Lock(name, chance.one_of(&[LockKind::Exclusive, LockKind::Shared])),
        19 => Call::Sync(name),
        20 => Call::SyncDir(name),
        _ => Call::Canonicalize(name),
    }
}

fn byte(chance: &Chance) -> u8 {
    u8::try_from(chance.below(256)).expect("a byte")
}

/// The answer in words, so that two can be compared.
fn answer(ground: &Ground, call: Call) -> String {
    let path = |name: &str| ground.path(name);
    let file = |name: &str| ground.env.open(&path(name), OpenMode::ReadWrite);
    let result = match call {
        Call::Open(name, mode) => ground.env.open(&path(name), mode).map(|_| String::new()),
        Call::CreateDir(name) => ground.env.create_dir(&path(name)).map(|()| String::new()),
        Call::Rename(from, to) => ground.env.rename(&path(from), &path(to)).map(|()| String::new()),
        Call::Remove(name) => ground.env.remove_file(&path(name)).map(|()| String::new()),
        Call::Write(name, at, byte) => file(name).map(|file| {
            write_all_at(&file, &[byte; 700], Position::new(at)).expect("a write");
            String::new()
        }),
        Call::SetLen(name, len) => file(name).and_then(|file| file.set_len(len)).map(|()| String::new()),
        Call::Allocate(name, from, len) => file(name)
            .and_then(|file| file.allocate(Position::new(from), Position::new(from) + len))
            .map(|()| String::new()),
        Call::Metadata(name) => ground.env.metadata(&path(name)).map(|found| match found.kind {
            crate::fs::EntryKind::File => format!("{} bytes", found.len),
            kind => format!("{kind:?}"),
        }),
        Call::List(name) => sorted_list(&ground.env, &path(name)),
        Call::SyncDir(name) => ground.env.sync_dir(&path(name)).map(|()| String::new()),
        Call::Canonicalize(name) => {
            ground.env.canonicalize(&path(name)).map(|found| format!("{:?}", found.strip_prefix(&ground.dir)))
        }
        Call::Lock(name, kind) => lock_twice(&ground.env, &path(name), kind),
        Call::Send(name, at) => file(name).map(|file| send(ground, &file, at)),
        Call::Sync(name) => file(name).and_then(|file| file.sync_data()).map(|()| String::new()),
        Call::WriteParts(name, at, byte) => file(name).and_then(|file| {
            let parts = [[byte; 300], [byte ^ 1; 300], [byte ^ 2; 300]];
            file.write_vectored_at(&parts.each_ref().map(|part| IoSlice::new(part)), Position::new(at))
                .map(|written| written.to_string())
        }),
        Call::ReadMapped(name) => file(name).and_then(|file| {
            let len = file.len()?;
            let map = file.map_read(1 << 20)?;
            let bytes = (0..len / 100).map(|nth| map.copy_at::<3>(usize::try_from(nth).expect("few") * 100 / 2));
            Ok(format!("{:?}", bytes.collect::<Vec<_>>()))
        }),
        Call::Store(name, at, byte) => file(name).and_then(|file| store(&file, at, byte, None)),
        Call::StoreAndCut(name, at, byte) => file(name).and_then(|file| store(&file, at, byte, Some(at + 1))),
    };
    match result {
        Ok(said) => said,
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn lock_twice(env: &Env, path: &Path, kind: LockKind) -> io::Result<String> {
    let lock = env.try_lock(path, kind)?;
    let others =
        [LockKind::Exclusive, LockKind::Shared].map(|kind| env.try_lock(path, kind).map(|lock| lock.is_some()));
    let [exclusive, shared] = others;
    let held = env.is_locked(path)?;
    let said = format!("{} {} {} {held}", lock.is_some(), exclusive?, shared?);
    drop(lock);
    Ok(format!("{said} {}", env.is_locked(path)?))
}

/// What a receiver got.
fn send(ground: &Ground, file: &File, at: u64) -> String {
    let (out, mut peer) = UnixStream::pair().expect("a pair of sockets");
    let sent = file.send_to(out.as_fd(), Position::new(at), 1500);
    drop(out);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("what was sent");
    if let Some(disk) = &ground.disk {
        disk.drain();
    }
    format!("{:?} {received:?}", sent.map_err(|error| error.kind()))
}

/// Two stores with a read in between, the second over a part of the first and of what a call wrote meanwhile.
fn store(file: &File, at: u64, byte: u8, cut: Option<u64>) -> io::Result<String> {
    let (start, end) = (Position::new(at / 4096 * 4096), Position::new(at / 4096 * 4096 + 8192));
    file.allocate(start, end)?;
    let mut window = file.map_window(start, end)?;
    window.populate()?;
    let at = Position::new(at);
    window.bytes_mut(at, 600).fill(byte);
    window.wrote(at, 600);
    let mut read = [0; 4];
    file.read_at(&mut read, at + 598)?;
    file.write_at(&[byte ^ 1; 10], at + 300)?;
    let lent = window.bytes_mut(at + 305, 500);
    let found = lent[..10].to_vec();
    lent[3..].fill(byte ^ 2);
    window.wrote(at + 305, 500);
    match cut {
        Some(len) => window.close(file, len)?,
        None => drop(window),
    }
    Ok(format!("{read:?} {found:?} {}", file.len()?))
}

fn sorted_list(env: &Env, dir: &Path) -> io::Result<String> {
    let mut entries: Vec<_> = env.list(dir)?.into_iter().map(|entry| (entry.name, entry.kind)).collect();
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(format!("{entries:?}"))
}

/// Every file below a directory with its content.
fn everything(ground: &Ground) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let content_of = |name| ground.env.open(&ground.path(name), OpenMode::ReadWrite).ok().map(|file| content(&file));
    NAMES.iter().map(|name| (*name, content_of(name))).collect()
}

#[test]
fn both_halves_answer_the_same_calls_alike() {
    for seed in 0..300 {
        let chance = Chance(Env::sim(&SimDisk::new(seed)));
        let (real, simulated) = (Ground::real(), Ground::simulated());
        let mut calls = Vec::new();
        for _ in 0..CALLS_BY_SEED {
            let call = draw(&chance);
            calls.push(call);
            assert_eq!(answer(&real, call), answer(&simulated, call), "seed {seed}: {calls:?}");
        }
        assert!(everything(&real) == everything(&simulated), "seed {seed}: {calls:?}");
    }
}

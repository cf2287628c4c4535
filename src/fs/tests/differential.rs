//! The same random calls on both halves: every answer, every name and every byte must agree.

use std::io;

use super::*;
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
}

fn draw(chance: &Chance) -> Call {
    let name = chance.one_of(&NAMES);
    match chance.below(12) {
        0..3 => {
            let modes = [OpenMode::ReadWrite, OpenMode::OpenOrCreate, OpenMode::CreateNew];
            Call::Open(name, chance.one_of(&modes))
        }
        3 => Call::CreateDir(name),
        4..6 => Call::Rename(name, chance.one_of(&NAMES)),
        6 => Call::Remove(name),
        7 => Call::Write(name, chance.below(2000), u8::try_from(chance.below(256)).unwrap()),
        8 => Call::SetLen(name, chance.below(3000)),
        9 => Call::Allocate(name, chance.below(2000), chance.below(1000)),
        10 => Call::Metadata(name),
        _ => Call::List(name),
    }
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
    };
    match result {
        Ok(said) => said,
        Err(error) => format!("{:?}", error.kind()),
    }
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

//! The state file: what was written last is read, whatever happens to the other slot.

#![allow(clippy::disallowed_methods, reason = "the tests look at the file from outside the seam")]

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

mod disk;

struct Place {
    dir: TempDir,
    env: Env,
}

impl Place {
    fn new() -> Place {
        Place { dir: TempDir::new().expect("a temporary directory"), env: Env::real() }
    }

    fn holding(bytes: &[u8]) -> Place {
        let place = Place::new();
        place.put(bytes);
        place
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(names::STATE)
    }

    fn put(&self, bytes: &[u8]) {
        std::fs::write(self.path(), bytes).expect("the file can be written");
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).expect("the file is there")
    }

    fn open(&self) -> (StateFile, Found) {
        StateFile::open_or_create(&self.env, self.dir.path()).expect("the file can be opened")
    }

    fn read(&self) -> (Found, Option<Sections>) {
        read(&self.env, self.dir.path()).expect("the file can be read")
    }

    fn found(&self) -> Found {
        self.read().0
    }
}

/// The nth state of a log that grows.
fn state(n: u64) -> State {
    State {
        generation: 7,
        clean: false,
        log_start: Offset::new(3),
        log_end: Offset::new(100 + n),
        recovery_point: RecoveryPoint {
            offset: Offset::new(90 + n),
            segment_base: Offset::new(40),
            position: Position::new(1000 * n),
        },
        witness: Some(Witness {
            base_offset: Offset::new(85 + n),
            last_offset: Offset::new(89 + n),
            segment_base: Offset::new(40),
            position: Position::new(900 * n),
            crc: 0xdead_beef,
        }),
        active: ActiveFile { base: Offset::new(40), size: 1000 * n },
        index_marks: IndexMarks { offset_entries: n, offset_crc: 1, time_entries: n + 1, time_crc: 2 },
        max_timestamp: Some((Timestamp::from_millis(7), Offset::new(41))),
        gaps_allowed: true,
        sync_failed: false,
        damage_accepted: true,
    }
}

fn clean(n: u64) -> State {
    State { clean: true, ..state(n) }
}

#[test]
fn what_was_written_last_is_read() {
    let place = Place::new();
    assert_eq!(place.found(), Found::Missing);
    let (mut file, found) = place.open();
    assert_eq!(found, Found::Missing);
    assert_eq!(place.found(), Found::Missing, "a file without a state is none");
    for n in 1..=5 {
        file.write(&state(n)).unwrap();
        assert_eq!(place.found(), Found::State(state(n)));
        assert_eq!(place.open().1, Found::State(state(n)));
        assert_eq!(place.bytes().len(), FIXED_BYTES);
    }
    file.sync().unwrap();
    let (mut file, _) = place.open();
    let sparse = State { witness: None, log_end: Offset::MAX, ..state(6) };
    file.write(&sparse).unwrap();
    assert_eq!(place.found(), Found::State(sparse));
    assert!(place.bytes()[SLOTS * SLOT_BYTES..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_slot_has_the_documented_bytes() {
    let bytes = Slot { sequence: 0x0102_0304_0506_0708, state: state(1) }.encode();
    let expected = "6b73746f72651a0a 00000001 000000b0 b32a472c 0000001a 0102030405060708 0000000000000007
        0000000000000003 0000000000000065 000000000000005b 0000000000000028 00000000000003e8 0000000000000056
        000000000000005a 0000000000000028 0000000000000384 deadbeef 00000001 0000000000000028 00000000000003e8
        0000000000000001 0000000000000002 00000002 00000000
        0000000000000007 0000000000000029";
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected.split_whitespace().collect::<String>());
}

#[test]
fn a_write_torn_between_any_sectors_leaves_the_older_or_the_newer_state() {
    let place = Place::new();
    let (mut file, _) = place.open();
    for n in 1..=4 {
        let before = place.bytes();
        let old = place.found();
        file.write(&state(n)).unwrap();
        let after = place.bytes();
        for kept in 0..1usize << (FIXED_BYTES / 512) {
            let mut torn = before.clone();
            for sector in (0..FIXED_BYTES / 512).filter(|sector| kept >> sector & 1 == 1) {
                let range = sector * 512..(sector + 1) * 512;
                torn[range.clone()].copy_from_slice(&after[range]);
            }
            let found = Place::holding(&torn).found();
            assert!(found == old || found == Found::State(state(n)), "{kept:b}: {found:?}");
        }
        place.put(&after);
    }
}

#[test]
fn a_write_torn_at_any_byte_leaves_the_older_or_the_newer_state() {
    let place = Place::new();
    let (mut file, _) = place.open();
    file.write(&state(1)).unwrap();
    file.write(&state(2)).unwrap();
    let before = place.bytes();
    file.write(&state(3)).unwrap();
    let after = place.bytes();
    for end in 0..=SLOT_BYTES {
        let torn = [&after[..end], &before[end..]].concat();
        let expected = if torn == after { state(3) } else { state(2) };
        assert_eq!(Place::holding(&torn).found(), Found::State(expected), "{end}");
    }
}

#[test]
fn after_a_torn_write_the_next_one_takes_the_torn_slot() {
    let place = Place::new();
    let (mut file, _) = place.open();
    for n in 1..=3 {
        file.write(&state(n)).unwrap();
    }
    let mut bytes = place.bytes();
    bytes[100] ^= 1;
    place.put(&bytes);
    let (mut file, found) = place.open();
    assert_eq!(found, Found::State(state(2)));
    file.write(&state(9)).unwrap();
    assert_eq!(place.found(), Found::State(state(9)));
    assert_eq!(place.bytes()[SLOT_BYTES..], bytes[SLOT_BYTES..]);
}

#[test]
fn any_flipped_bit_of_a_slot_in_use_is_noticed() {
    let place = Place::new();
    let (mut file, _) = place.open();
    file.write(&state(1)).unwrap();
    let bytes = place.bytes();
    for bit in 0..160 * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(Place::holding(&flipped).found(), Found::Unusable(_)), "{bit}");
    }
}

// The slot that took the mark back may be the damaged one.
#[test]
fn a_clean_mark_beside_a_damaged_slot_is_not_believed() {
    let place = Place::new();
    let (mut file, _) = place.open();
    file.write(&state(1)).unwrap();
    file.write(&clean(2)).unwrap();
    assert_eq!(place.found(), Found::State(clean(2)));
    file.write(&state(3)).unwrap();
    let bytes = place.bytes();
    for damage in [1, 0xff] {
        let mut damaged = bytes.clone();
        damaged[30] ^= damage;
        assert_eq!(Place::holding(&damaged).found(), Found::State(state(2)));
    }
    let mut lost = bytes;
    lost[..SLOT_BYTES].fill(0);
    assert_eq!(Place::holding(&lost).found(), Found::State(state(2)));

    let (place, first) = (Place::new(), clean(1));
    place.open().0.write(&first).unwrap();
    assert_eq!(place.found(), Found::State(first));
}

#[test]
fn an_unusable_file_says_why_and_stays_as_it_is_until_a_write() {
    let junk = [b'x'; 5000];
    for bytes in [&junk[..], &junk[..10], b"kstore\x1a\n"] {
        let place = Place::holding(bytes);
        let (mut file, found) = place.open();
        assert!(matches!(found, Found::Unusable(_)), "{found:?}");
        assert_eq!(place.bytes()[..bytes.len()], *bytes);
        file.write(&state(1)).unwrap();
        assert_eq!(place.found(), Found::State(state(1)));
        file.write(&clean(2)).unwrap();
        assert_eq!(place.read(), (Found::State(clean(2)), None));
        assert!(place.bytes().len() >= FIXED_BYTES);
    }
}

/// A sound slot of some version, filled up to some length.
fn slot_of_version(version: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0x5a; length];
    bytes[..8].copy_from_slice(b"kstore\x1a\n");
    bytes[8..12].copy_from_slice(&version.to_be_bytes());
    bytes[12..16].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), &bytes[20..]);
    bytes[16..20].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn a_newer_format_version_is_an_error_and_not_an_absent_state() {
    for length in [20, 160, 512, SLOT_BYTES] {
        for at in [0, SLOT_BYTES] {
            let place = Place::new();
            let (mut file, _) = place.open();
            file.write(&state(1)).unwrap();
            file.write(&state(2)).unwrap();
            let mut bytes = place.bytes();
            bytes[at..at + length].copy_from_slice(&slot_of_version(2, length));
            place.put(&bytes);
            for refused in [
                read(&place.env, place.dir.path()).map(drop),
                StateFile::open_or_create(&place.env, place.dir.path()).map(drop),
            ] {
                let Err(Error::Corrupt { position, reason: Corruption::Content { .. }, .. }) = refused else {
                    panic!("{refused:?}");
                };
                assert_eq!(position.value(), at as u64);
            }
            assert_eq!(place.bytes(), bytes);
            bytes[at + 12] ^= 1;
            place.put(&bytes);
            assert!(place.found().state().is_some(), "a damaged slot has no version");
        }
    }
    assert!(matches!(Place::holding(&slot_of_version(0, 160)).found(), Found::Unusable(_)));
}

#[test]
fn a_state_that_contradicts_itself_is_unusable() {
    let sane = state(1);
    let insane = [
        State { log_start: Offset::new(102), ..sane },
        State { log_end: Offset::new(90), ..sane },
        State { log_end: Offset::new(1 << 63), ..sane },
        State { active: ActiveFile { base: Offset::new(102), size: 0 }, ..sane },
        State { recovery_point: RecoveryPoint { segment_base: Offset::new(92), ..sane.recovery_point }, ..sane },
        State { witness: Some(Witness { last_offset: Offset::new(91), ..sane.witness.unwrap() }), ..sane },
        State { witness: Some(Witness { last_offset: Offset::new(85), ..sane.witness.unwrap() }), ..sane },
        State { witness: Some(Witness { segment_base: Offset::new(87), ..sane.witness.unwrap() }), ..sane },
    ];
    for state in insane {
        let bytes = Slot { sequence: 1, state }.encode_unchecked();
        let found = Place::holding(&bytes).found();
        assert!(matches!(found, Found::Unusable(Corruption::Content { .. })), "{state:?} gives {found:?}");
    }
}

/// A slot one short of the largest number was taken: the next write was one that no reader takes, and the one after it
/// an overflow. A generation of the largest number overflowed when the log was opened.
#[test]
fn a_number_that_nobody_counted_to_is_refused_for_the_next_one_would_not_fit() {
    let sane = state(1);
    let last = State { generation: u64::MAX, ..sane };
    for (sequence, state) in [(u64::MAX, sane), (u64::MAX - 1, sane), (u64::MAX / 2 + 1, sane), (1, last)] {
        let place = Place::holding(&Slot { sequence, state }.encode_unchecked());
        assert!(matches!(place.found(), Found::Unusable(Corruption::Content { .. })), "{sequence} {state:?}");
        let (mut file, _) = place.open();
        for generation in 1..=3 {
            let next = State { generation, ..sane };
            file.write(&next).unwrap();
            assert_eq!(place.found(), Found::State(next));
        }
    }
    let highest = Slot { sequence: u64::MAX / 2, state: State { generation: u64::MAX / 2, ..sane } };
    assert!(matches!(Place::holding(&highest.encode()).found(), Found::State(_)));
}

#[test]
fn the_sizes_of_sealed_segments_hold_until_the_next_state() {
    let place = Place::new();
    let (mut file, _) = place.open();
    for count in [0u64, 1, 1000, 10] {
        let sizes: Sections = (0..count).map(|n| (Offset::new(n * 5), n + 100)).collect();
        file.write(&clean(1)).unwrap();
        assert_eq!(place.read().1, None);
        file.write_sections(&sizes).unwrap();
        assert_eq!(file.read_sections().unwrap().as_ref(), Some(&sizes));
        assert_eq!(place.read(), (Found::State(clean(1)), Some(sizes.clone())));
        let (reopened, _) = place.open();
        assert_eq!(reopened.read_sections().unwrap(), Some(sizes));
        file.write(&state(2)).unwrap();
        assert_eq!(place.read(), (Found::State(state(2)), None));
        assert_eq!(file.read_sections().unwrap(), None);
    }
}

#[test]
fn a_damaged_section_is_none() {
    let place = Place::new();
    let (mut file, _) = place.open();
    file.write(&clean(1)).unwrap();
    file.write_sections(&[(Offset::new(0), 10), (Offset::new(7), 20)]).unwrap();
    let bytes = place.bytes();
    for bit in FIXED_BYTES * 8..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Place::holding(&flipped).read(), (Found::State(clean(1)), None), "{bit}");
    }
    for len in FIXED_BYTES..bytes.len() {
        assert_eq!(Place::holding(&bytes[..len]).read(), (Found::State(clean(1)), None), "{len}");
    }
    for unordered in [[(Offset::new(7), 1), (Offset::new(7), 2)], [(Offset::ZERO, 1), (Offset::new(u64::MAX), 2)]] {
        file.write_sections(&unordered).unwrap();
        assert_eq!(place.read().1, None);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..6000), with_magic: bool) {
        let mut bytes = bytes;
        if with_magic && bytes.len() > 8 {
            bytes[..8].copy_from_slice(b"kstore\x1a\n");
        }
        let place = Place::holding(&bytes);
        prop_assert!(!matches!(place.found(), Found::State(_)));
        place.open().0.write(&state(1)).unwrap();
        prop_assert_eq!(place.found(), Found::State(state(1)));
    }

    #[test]
    fn any_fields_under_a_right_checksum_are_refused_or_read_as_they_stand(
        changes in proptest::collection::vec((20usize..160, any::<u8>()), 0..8),
    ) {
        let mut bytes = Slot { sequence: 5, state: state(1) }.encode();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), &bytes[20..]);
        bytes[16..20].copy_from_slice(&crc.to_be_bytes());
        if let Ok(Some(slot)) = Slot::decode(&bytes) {
            prop_assert_eq!(slot.encode(), bytes);
        }
    }

    #[test]
    fn any_section_gives_an_answer(count: u64, sequence in 0u64..3, entries in proptest::collection::vec(any::<u8>(), 0..200)) {
        let place = Place::new();
        place.open().0.write(&clean(1)).unwrap();
        let mut bytes = place.bytes();
        let mut section = section::encode(sequence, &[]);
        section[16..24].copy_from_slice(&count.to_be_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&section[..24]), &entries);
        section[24..28].copy_from_slice(&crc.to_be_bytes());
        bytes.extend(section.iter().chain(&entries));
        place.put(&bytes);
        place.read();
    }
}

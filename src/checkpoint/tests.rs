//! Kafka's small text files: written, replaced, refused.

#![allow(clippy::disallowed_methods, reason = "the tests look at the files from outside the seam")]

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

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).expect("the file can be written");
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("the file is there")
    }

    fn epochs(&self, text: impl AsRef<[u8]>) -> Result<Vec<EpochStart>> {
        self.put(names::LEADER_EPOCH_CHECKPOINT, text);
        read_leader_epochs(&self.env, self.dir.path())
    }

    fn offsets(&self, text: impl AsRef<[u8]>) -> Result<Vec<PartitionOffset>> {
        self.put(OFFSETS, text);
        read_offsets(&self.env, &self.path(OFFSETS))
    }

    fn topic_id(&self, text: impl AsRef<[u8]>) -> Result<Option<TopicId>> {
        self.put(names::PARTITION_METADATA, text);
        read_partition_metadata(&self.env, self.dir.path())
    }
}

const OFFSETS: &str = "recovery-point-offset-checkpoint";

fn epoch(epoch: i32, start_offset: u64) -> EpochStart {
    EpochStart { epoch, start_offset: Offset::new(start_offset) }
}

fn partition(topic: &str, partition: i32, offset: u64) -> PartitionOffset {
    PartitionOffset { topic: topic.to_owned(), partition, offset: Offset::new(offset) }
}

/// Where an error says that the file is at fault.
fn fault<T>(result: Result<T>) -> Option<u64> {
    match result {
        Err(Error::Corrupt { position, .. }) => Some(position.value()),
        _ => None,
    }
}

// Rows 293, 295.
#[test]
fn what_was_written_is_read_and_replaced_by_the_next_write() {
    let place = Place::new();
    let dir = place.dir.path();
    assert_eq!(read_leader_epochs(&place.env, dir).unwrap(), []);
    for epochs in [vec![epoch(0, 0), epoch(3, 42)], (0..1000).map(|n| epoch(n, 7)).collect(), vec![]] {
        write_leader_epochs(&place.env, dir, &epochs).unwrap();
        assert_eq!(read_leader_epochs(&place.env, dir).unwrap(), epochs);
    }
    let path = place.path(OFFSETS);
    assert_eq!(read_offsets(&place.env, &path).unwrap(), []);
    let many = (0..1000).map(|n| partition("t", n, i64::MAX as u64)).collect();
    for offsets in [vec![partition("my.topic-x", 3, 17)], many, vec![]] {
        write_offsets(&place.env, &path, &offsets).unwrap();
        assert_eq!(read_offsets(&place.env, &path).unwrap(), offsets);
    }
    let names = std::fs::read_dir(dir).unwrap().count();
    assert_eq!(names, 2, "no temporary file is left");
}

/// Reading splits a line at ASCII white space, writing refused any: what had been read from a foreign file was a panic.
#[test]
fn a_topic_that_was_read_can_be_written_whatever_its_letters() {
    let place = Place::new();
    let text = "0\n2\na\u{b}b 3 17\nc\u{a0}d 0 4\n";
    let found = place.offsets(text).unwrap();
    assert_eq!(found, [partition("a\u{b}b", 3, 17), partition("c\u{a0}d", 0, 4)]);
    write_offsets(&place.env, &place.path(OFFSETS), &found).unwrap();
    assert_eq!(place.text(OFFSETS), text);
}

#[test]
fn the_text_is_kafkas() {
    let place = Place::new();
    write_leader_epochs(&place.env, place.dir.path(), &[epoch(0, 0), epoch(3, 42)]).unwrap();
    assert_eq!(place.text(names::LEADER_EPOCH_CHECKPOINT), "0\n2\n0 0\n3 42\n");
    write_offsets(&place.env, &place.path(OFFSETS), &[partition("my.topic-x", 3, 17)]).unwrap();
    assert_eq!(place.text(OFFSETS), "0\n1\nmy.topic-x 3 17\n");
}

// Row 293.
#[test]
fn a_file_that_ends_before_its_count_has_no_entries() {
    let place = Place::new();
    for text in ["", "0", "0\n", "0\n0", "0\n0\n", "0\r\n0\r\n"] {
        assert_eq!(place.epochs(text).unwrap(), [], "{text:?}");
        assert_eq!(place.offsets(text).unwrap(), [], "{text:?}");
    }
    assert_eq!(place.epochs("0\n1\n3\t 42").unwrap(), [epoch(3, 42)]);
    assert_eq!(place.offsets("0\r\n1\r\na 3 42\r\n").unwrap(), [partition("a", 3, 42)]);
}

// Row 294.
#[test]
fn an_unknown_version_a_wrong_count_and_a_malformed_line_are_refused_where_they_stand() {
    let place = Place::new();
    for (text, at) in [
        ("1\n0\n", 0),
        ("x\n0\n", 0),
        ("\n", 0),
        ("0\n\n", 2),
        ("0\n-1\n", 2),
        ("0\n2\n0 0\n", 2),
        ("0\n0\n0 0\n", 2),
        ("0\n1\n0 0\n\n", 2),
        ("0\n99999999999999999999\n", 2),
        ("0\n2\n0 0\n5\n", 8),
        ("0\n2\n0 0\n5 5 5\n", 8),
        ("0\n2\n0 0\nx 5\n", 8),
        ("0\n2\n0 0\n5 x\n", 8),
        ("0\n2\n0 0\n-1 5\n", 8),
        ("0\n2\n0 0\n5 -1\n", 8),
        ("0\n2\n0 0\n2147483648 5\n", 8),
        ("0\n2\n0 0\n5 9223372036854775808\n", 8),
    ] {
        assert_eq!(fault(place.epochs(text)), Some(at), "{text:?}");
    }
    for (text, at) in [("0\n1\na 3\n", 4), ("0\n1\na b 3\n", 4), ("0\n1\na 3 b\n", 4), ("0\n1\na -3 1\n", 4)] {
        assert_eq!(fault(place.offsets(text)), Some(at), "{text:?}");
    }
    assert_eq!(fault(place.offsets(b"0\n1\na\xff 3 1\n")), Some(5));
}

// Rows 294, 295.
#[test]
fn a_directory_that_is_not_there_is_an_error_of_a_write() {
    let place = Place::new();
    let missing = place.path("missing");
    let Err(Error::Io { operation: IoOp::Create, cause, .. }) = write_leader_epochs(&place.env, &missing, &[]) else {
        panic!("there is no directory to write to");
    };
    assert_eq!(cause.kind(), ErrorKind::NotFound);
}

#[test]
fn a_write_that_fails_leaves_the_old_content_and_what_a_crash_left_is_replaced() {
    let place = Place::new();
    let (name, dir) = (names::LEADER_EPOCH_CHECKPOINT, place.dir.path());
    write_leader_epochs(&place.env, dir, &[epoch(1, 1)]).unwrap();
    let temporary = place.path("leader-epoch-checkpoint.tmp");
    std::fs::create_dir(&temporary).unwrap();
    assert!(write_leader_epochs(&place.env, dir, &[epoch(2, 2)]).is_err());
    assert_eq!(place.text(name), "0\n1\n1 1\n");
    std::fs::remove_dir(&temporary).unwrap();
    std::fs::write(&temporary, "a longer text that a crash left here").unwrap();
    write_leader_epochs(&place.env, dir, &[epoch(2, 2)]).unwrap();
    assert_eq!(place.text(name), "0\n1\n2 2\n");
}

// Row 296.
#[test]
fn a_partition_keeps_the_topic_id_that_it_was_given_first() {
    let place = Place::new();
    let (dir, name) = (place.dir.path(), names::PARTITION_METADATA);
    let id = TopicId::new(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210).unwrap();
    assert_eq!(read_partition_metadata(&place.env, dir).unwrap(), None);
    keep_partition_metadata(&place.env, dir, id).unwrap();
    assert_eq!(place.text(name), "version: 0\ntopic_id: ASNFZ4mrze_-3LqYdlQyEA");
    assert_eq!(read_partition_metadata(&place.env, dir).unwrap(), Some(id));
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(place.path(name)).unwrap());
    let first = inode();
    keep_partition_metadata(&place.env, dir, id).unwrap();
    assert_eq!(inode(), first, "nothing was written");
    let other = TopicId::new(7).unwrap();
    assert_eq!(fault(keep_partition_metadata(&place.env, dir, other)), Some(0));
    assert_eq!(read_partition_metadata(&place.env, dir).unwrap(), Some(id));
}

#[test]
fn partition_metadata_of_a_later_version_is_read_and_malformed_text_refused() {
    let place = Place::new();
    let id = TopicId::parse("ASNFZ4mrze_-3LqYdlQyEA");
    for text in
        ["version: 1\ntopic_id: ASNFZ4mrze_-3LqYdlQyEA\nmore: 1\n", "version:\t0\r\ntopic_id:  ASNFZ4mrze_-3LqYdlQyEA"]
    {
        assert_eq!(place.topic_id(text).unwrap(), id);
    }
    for text in [
        "",
        "version: 0",
        "version: -1\ntopic_id: ASNFZ4mrze_-3LqYdlQyEA",
        "version:0\ntopic_id: ASNFZ4mrze_-3LqYdlQyEA",
        "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
        "version: 0\ntopic_id ASNFZ4mrze_-3LqYdlQyEA",
    ] {
        assert_eq!(fault(place.topic_id(text)), Some(0), "{text:?}");
    }
}

#[test]
fn a_file_too_large_to_be_a_checkpoint_is_not_read() {
    let place = Place::new();
    place.put(OFFSETS, "");
    std::fs::OpenOptions::new().write(true).open(place.path(OFFSETS)).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(fault(read_offsets(&place.env, &place.path(OFFSETS))), Some(MAX_BYTES));
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[0-9 \n\r:a-]{0,30}") {
        let place = Place::new();
        for content in [&bytes[..], text.as_bytes(), format!("0\n1\n{text}").as_bytes()] {
            for refused in [place.epochs(content).map(drop), place.offsets(content).map(drop), place.topic_id(content).map(drop)] {
                prop_assert!(refused.is_ok() || fault(refused).is_some());
            }
        }
    }
}

//! The writer and the file on a disk that fails: what is taken back, what is given up, what is told.

use super::*;
use crate::fs::sim::CrashStrength;

fn preallocated() -> Shape {
    Shape { write_mode: WriteMode::Preallocated, ..shape() }
}

/// A writer with two batches, synced.
fn synced(place: &Place, shape: Shape) -> SegmentWriter {
    let mut writer = place.create(0, shape);
    append(&mut writer, &batches(0, 2));
    writer.log().sync().unwrap();
    place.env.sync_dir(Path::new(DIR)).unwrap();
    writer
}

fn write_fails_after_a_part(place: &Place, kind: FaultKind) {
    place.disk.fail(Fault::once(CallKind::WriteAt, 1, FaultKind::Short).on(".log"));
    place.disk.fail(Fault::once(CallKind::WriteAt, 2, kind).on(".log"));
}

#[test]
fn a_write_that_fails_half_way_is_taken_back_durably_and_the_next_one_goes_on() {
    for (shape, kind) in [
        (shape(), FaultKind::NoSpace),
        (shape(), FaultKind::InputOutput),
        (preallocated(), FaultKind::NoSpace),
        (preallocated(), FaultKind::InputOutput),
    ] {
        let place = Place::new();
        let mut writer = synced(&place, shape);
        write_fails_after_a_part(&place, kind);
        let error = match try_append(&mut writer, &[batch(4, &[50, 51])]) {
            Err(AppendFailure::Unchanged(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(matches!(error, Error::StorageFull { .. }), kind == FaultKind::NoSpace, "{error:?}");
        assert_eq!(place.log(0), batches(0, 2).concat());
        for image in place.disk.every_image(CrashStrength::Strict) {
            let log = image.read_file(path(Path::new(DIR), Offset::ZERO, SegmentFile::Log)).unwrap();
            assert_eq!(log, batches(0, 2).concat(), "no power cut brings the failed write back");
        }
        assert_eq!((writer.position(), writer.next_offset()), (Position::new(230), offset(4)));
        append(&mut writer, &[batch(4, &[60, 61])]);
        writer.trim().unwrap();
        assert_eq!(place.log(0), [batches(0, 2).concat(), batch(4, &[60, 61])].concat());
    }
}

#[test]
fn a_write_that_cannot_be_taken_back_leaves_an_unknown_end() {
    for call in [CallKind::SetLen, CallKind::SyncData] {
        let place = Place::new();
        let mut writer = synced(&place, shape());
        write_fails_after_a_part(&place, FaultKind::NoSpace);
        place.disk.fail(Fault::once(call, 1, FaultKind::InputOutput));
        let failure = try_append(&mut writer, &[batch(4, &[50, 51])]);
        assert!(matches!(failure, Err(AppendFailure::Unknown(Error::StorageFull { .. }))), "{call:?}: {failure:?}");
    }
}

#[test]
fn a_write_that_moved_nothing_needs_no_cut() {
    let place = Place::new();
    let mut writer = synced(&place, shape());
    place.disk.reset_counters();
    place.disk.fail(Fault::once(CallKind::WriteAt, 1, FaultKind::NoSpace));
    let failure = try_append(&mut writer, &[batch(4, &[50, 51])]);
    assert!(matches!(failure, Err(AppendFailure::Unchanged(Error::StorageFull { .. }))));
    assert_eq!(place.disk.calls(CallKind::SetLen) + place.disk.calls(CallKind::SyncData), 0);
    append(&mut writer, &[batch(4, &[50, 51])]);
}

#[test]
fn an_index_that_cannot_be_written_fails_no_append() {
    let place = Place::new();
    let mut writer = place.create(0, shape());
    for ending in [".index", ".timeindex"] {
        place.disk.fail(Fault::from(CallKind::WriteAt, 1, FaultKind::NoSpace).on(ending));
    }
    for batch in batches(0, 50) {
        append(&mut writer, &[batch]);
        writer.write_indexes();
    }
    assert_eq!(place.log(0), batches(0, 50).concat());
    let (handles, _) = writer.segment().open(&place.env).unwrap();
    assert!(writer.segment().find(&handles, offset(99)).unwrap().is_some());
}

// Story: an allocation that ran out of room on its way kept what it had got until then: the disk stayed full for
// everybody else, and the file could keep a zero tail when the segment was sealed.
#[test]
fn without_room_for_a_window_an_append_takes_what_it_needs_and_gives_the_rest_back() {
    let place = Place::new();
    let mut writer = synced(&place, preallocated());
    writer.trim().unwrap();
    writer.log().sync().unwrap();
    place.disk.set_free_space(1 << 20);
    append(&mut writer, &[batch(4, &[50, 51])]);
    assert_eq!(place.log(0).len(), 345);
    let free = place.env.free_space(Path::new(DIR)).unwrap();
    assert!(free > (1 << 20) - 5000, "{free} bytes are free");
    writer.trim().unwrap();
    assert_eq!(
        place.disk.image(CrashStrength::Strict, |_, _| 0).read_file("/log/00000000000000000000.log").unwrap().len(),
        345
    );
    drop(writer.seal());
}

#[test]
fn without_any_room_an_append_fails_and_succeeds_once_there_is_some() {
    let place = Place::new();
    let mut writer = synced(&place, preallocated());
    writer.trim().unwrap();
    place.disk.set_free_space(50);
    let failure = try_append(&mut writer, &[batch(4, &[50, 51])]);
    assert!(matches!(failure, Err(AppendFailure::Unchanged(Error::StorageFull { .. }))), "{failure:?}");
    assert_eq!(place.log(0), batches(0, 2).concat());
    place.disk.set_free_space(1 << 30);
    append(&mut writer, &[batch(4, &[50, 51])]);
    writer.trim().unwrap();
    assert_eq!(place.log(0).len(), 345);
}

#[test]
fn a_file_system_that_cannot_allocate_is_asked_once() {
    let place = Place::new();
    let mut writer = place.create(0, preallocated());
    place.disk.fail(Fault::from(CallKind::Allocate, 1, FaultKind::Unsupported));
    for batch in batches(0, 3) {
        append(&mut writer, &[batch]);
    }
    assert!(!(writer.write_mode() == (WriteMode::Preallocated, None)));
    assert_eq!(place.disk.calls(CallKind::Allocate), 1);
    assert_eq!(place.log(0), batches(0, 3).concat());
}

// Story: a signal that arrived during an allocation made the append fail with EINTR.
#[test]
fn an_allocation_that_a_signal_interrupts_is_made_again() {
    let place = Place::new();
    let mut writer = place.create(0, preallocated());
    place.disk.fail(Fault::once(CallKind::Allocate, 1, FaultKind::Interrupted));
    append(&mut writer, &batches(0, 1));
    assert_eq!(place.disk.calls(CallKind::Allocate), 2);
}

// Rules 17, 17a: the kernel reports a lost write once, and the next sync says yes.
#[test]
fn the_first_failure_of_a_files_sync_sticks_although_the_disk_is_well_again() {
    let place = Place::new();
    let mut writer = synced(&place, shape());
    append(&mut writer, &[batch(4, &[50, 51])]);
    place.disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
    let first = writer.log().sync().unwrap_err();
    place.disk.heal();
    place.disk.reset_counters();
    assert_eq!(writer.log().sync().unwrap_err().to_string(), first.to_string());
    assert_eq!(place.disk.calls(CallKind::SyncData), 0, "nobody asks the kernel again");
    assert!(matches!(first, Error::Io { operation: IoOp::Sync, .. }));
    writer.trim().unwrap();
    assert!(writer.seal().sync().is_err(), "the roll's sync knows as well");
}

#[test]
fn a_sealed_segment_syncs_its_log_before_its_indexes() {
    let place = Place::new();
    let mut writer = synced(&place, shape());
    writer.trim().unwrap();
    let sealed = writer.seal();
    place.disk.set_tracing(true);
    sealed.sync().unwrap();
    let synced: Vec<_> = place.disk.trace().into_iter().filter(|entry| entry.call == CallKind::SyncData).collect();
    let endings: Vec<_> = synced.iter().map(|entry| entry.path.extension().unwrap().to_str().unwrap()).collect();
    assert_eq!(endings, ["log", "index", "timeindex"]);
}

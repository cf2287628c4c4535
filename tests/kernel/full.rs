//! Full disks: the workload goes on in the room that it can make, or says that there is none, and once there is, it goes on.
//!
//! ext4 gives room when it is asked to allocate; btrfs may say yes then and no later, and needs room to give room back.

use crate::place::{Kind, Place};
use crate::skip;
use crate::tortured::Tortured;

/// Small enough to be filled at once.
const MIB: u64 = 64;
const RECORDS: [&str; 2] = ["--records", "6000"];

/// Down to the last block, also of what the log has given back meanwhile. That `dd` ends with an error is the purpose.
const FILL: &str = "for block in 65536 512; do
    for n in 1 2 3; do dd if=/dev/zero of=mounted/filler-$$-$block-$n bs=$block 2>>dd || sync; done
done";

fn fill_and_go_on(kind: Kind, mode: &[&str]) {
    let place = match Place::new(&[kind]) {
        Ok(place) => place,
        Err(why) => return skip(&format!("a full {}", kind.name()), &why),
    };
    // Nobody makes an xfs of less.
    let mib = if kind == Kind::Xfs { 320 } else { MIB };
    place.make(kind, "image", mib).expect("as the probe");
    place.mount(kind, &place.path("image"), "mounted").expect("as the probe");
    let mut log = Tortured::new(&place.path("mounted/log"), &place.path("notes"));
    let inside = place.inside();
    let running = log.start(&inside, 1, &[mode, &RECORDS].concat());
    assert_eq!(log.end(running).code, Some(0), "there is room");
    let with_room = log.verify(&inside);
    let mut trims = 0;
    for round in 0..4 {
        place.script(FILL).expect("dd runs");
        log.note("filled".to_owned());
        let running = log.start(&inside, 2 + round, &[mode, &RECORDS].concat());
        let ending = log.end(running);
        trims += ending.lines.iter().filter(|line| line.starts_with("TRIM ")).count();
        if ending.code != Some(0)
            && !ending.lines.last().is_some_and(|line| line.contains("no room") || line.contains("No space"))
        {
            log.fail("it ended, and not for lack of room");
        }
        let found = log.verify_if_there_is_room(&inside);
        println!("{kind:?} {mode:?} round {round}: {:?}, {found:?}, {:?}", ending.code, ending.lines.last());
    }
    place.script("rm mounted/filler*; sync").expect("files can be removed");
    log.note("there is room".to_owned());
    let when_full = log.verify(&inside);
    // A btrfs may be so full that not even a name can be removed.
    let must_delete = trims > 0 && kind != Kind::Btrfs;
    assert!(when_full.start > with_room.start || !must_delete, "nothing was deleted on a full disk");
    let running = log.start(&inside, 9, &[mode, &RECORDS].concat());
    if log.end(running).code != Some(0) {
        log.fail("there is room, and it does not go on");
    }
    assert!(log.verify(&inside).end > when_full.end, "nothing was appended");
}

#[test]
fn a_full_ext4_breaks_no_promise() {
    fill_and_go_on(Kind::Ext4, &[]);
}

#[test]
fn a_full_ext4_breaks_no_promise_where_room_is_allocated_ahead() {
    fill_and_go_on(Kind::Ext4, &["--preallocated", "--threads", "2"]);
}

#[test]
fn a_full_btrfs_breaks_no_promise() {
    fill_and_go_on(Kind::Btrfs, &[]);
}

#[test]
fn a_full_btrfs_breaks_no_promise_where_room_is_allocated_ahead() {
    fill_and_go_on(Kind::Btrfs, &["--preallocated", "--threads", "2"]);
}

#[test]
fn a_full_ext4_breaks_no_promise_where_maps_are_stored_into() {
    fill_and_go_on(Kind::Ext4, &["--mapped", "--threads", "2"]);
}

#[test]
fn a_full_xfs_breaks_no_promise_where_maps_are_stored_into() {
    fill_and_go_on(Kind::Xfs, &["--mapped"]);
}

#[test]
fn a_full_btrfs_breaks_no_promise_where_maps_are_asked_for() {
    fill_and_go_on(Kind::Btrfs, &["--mapped"]);
}

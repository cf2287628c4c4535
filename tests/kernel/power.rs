//! Power cuts: a file system loses what it has not written, and what was acknowledged is there all the same.
//!
//! Two ways to cut it, on file systems in loop-mounted images:
//!
//! * *shutdown*: the file system is told to forget everything that is not on its device, the log included
//!   (`FS_IOC_GOINGDOWN` without a flush, by `xfs_io`; ext4 and xfs have it), while the workload goes on and is refused.
//! * *clone*: the image lies on an xfs, which copies it by reference in a moment, while the workload goes on. The copy is
//!   what the device had accepted then. All three file systems, and several cuts a run.
//!
//! What is promised is what was said before the cut begins. A promise that is given while a shutdown is under way does not
//! count: xfs answers some syncs with success then, and does not write, which no process sees of a power cut.
//!
//! In neither is anything lost that the device has accepted, for the image is its own write cache. That devices lose
//! what was not flushed is for the simulated disk, and that the file systems flush is for them to know.

use std::path::Path;

use crate::dice::{Dice, seed};
use crate::place::{Kind, Place};
use crate::tortured::{Running, Tortured};
use crate::{FOR_EVER, MODES, skip, times};

/// States a file system and way, unless `KSTORE_CUTS` says how many.
const CUTS: u64 = 20;
/// Of so many cuts there is one run, where a run has several.
const CUTS_A_RUN: u64 = 6;
const MIB: u64 = 400;

/// A log on a file system of its kind, or a skip.
fn place(what: &str, kinds: &[Kind]) -> Option<Place> {
    Place::new(kinds).map_err(|why| skip(what, &why)).ok()
}

/// Starts a run that nothing but the cut will end, and gives it a random time.
fn start(log: &mut Tortured, place: &Place, dice: &mut Dice) -> Running {
    let mode = MODES[usize::try_from(dice.below(MODES.len() as u64)).expect("a few")];
    let mut running = log.start(&place.inside(), dice.below(u64::MAX), &[mode, &FOR_EVER].concat());
    running.may_get_bus_error = mode.contains(&"--mapped");
    if dice.below(8) > 0 {
        running.wait_for_lines(1);
    }
    std::thread::sleep(dice.millis_below(250));
    running
}

fn shut_down_again_and_again(kind: Kind) {
    let what = format!("power cuts of {} by shutdown", kind.name());
    let Some(place) = place(&what, &[kind]) else { return };
    if place.script("xfs_io -V").is_err() {
        return skip(&what, "xfs_io is missing (xfsprogs)");
    }
    let mut dice = Dice::new(seed(&what));
    place.make(kind, "image", MIB).expect("as the probe");
    place.mount(kind, &place.path("image"), "mounted").expect("as the probe");
    let mut log = Tortured::new(&place.path("mounted/log"), &place.path("notes"));
    for _ in 0..times("KSTORE_CUTS", CUTS) {
        let running = start(&mut log, &place, &mut dice);
        let promised = running.heard();
        place.script("xfs_io -x -c shutdown mounted").unwrap_or_else(|why| log.fail(&why));
        log.note(format!("shut down, behind {} lines", promised.lines().count()));
        let ending = log.end_unheard(running);
        hear(&mut log, &promised, ending.lines.iter().map(String::as_str));
        // Killed by a store into a map, or told by a call.
        if !matches!(ending.code, None | Some(1)) {
            log.fail("it went on without a disk");
        }
        place.unmount("mounted").unwrap_or_else(|why| log.fail(&why));
        place.mount(kind, &place.path("image"), "mounted").unwrap_or_else(|why| log.fail(&why));
        log.verify(&place.inside());
    }
    assert!(log.verify(&place.inside()).end > 0, "nothing was ever appended");
}

/// What was said before the cut is promised, what came behind is not, but may have been done.
fn hear<'a>(log: &mut Tortured, before: &str, all: impl Iterator<Item = &'a str>) {
    let promised = before.lines().count();
    let heard = all
        .enumerate()
        .try_for_each(|(at, line)| if at < promised { log.promises.hear(line) } else { log.promises.hear_late(line) });
    heard.unwrap_or_else(|fault| log.fail(&fault));
}

#[test]
fn ext4_that_is_shut_down_has_what_was_acknowledged() {
    shut_down_again_and_again(Kind::Ext4);
}

#[test]
fn xfs_that_is_shut_down_has_what_was_acknowledged() {
    shut_down_again_and_again(Kind::Xfs);
}

/// A copy of the image, what was promised when it was made, and its name.
struct Cut {
    image: String,
    log: Tortured,
}

fn clone_again_and_again(kind: Kind) {
    let what = format!("power cuts of {} by clones of its image", kind.name());
    let Some(place) = place(&what, &[Kind::Xfs, kind]) else { return };
    let mut dice = Dice::new(seed(&what));
    place.make(Kind::Xfs, "images", 6 * MIB).expect("as the probe");
    place.mount(Kind::Xfs, &place.path("images"), "outer").expect("as the probe");
    place.make(kind, "outer/image", MIB).expect("as the probe");
    let mut log = Tortured::new(&place.path("mounted/log"), &place.path("notes"));
    let mut left = times("KSTORE_CUTS", CUTS);
    while left > 0 {
        place.mount(kind, &place.path("outer/image"), "mounted").unwrap_or_else(|why| log.fail(&why));
        let mut running = start(&mut log, &place, &mut dice);
        let mut cuts = Vec::new();
        for number in 0..left.min(CUTS_A_RUN) {
            cuts.push(cut(&log, &running, &place, number));
            std::thread::sleep(dice.millis_below(60));
        }
        // Nothing is wrong with this disk.
        running.may_get_bus_error = false;
        running.kill();
        if log.end(running).code.is_some() {
            log.fail("it ended by itself");
        }
        place.unmount("mounted").unwrap_or_else(|why| log.fail(&why));
        left -= cuts.len() as u64;
        for Cut { image, log: mut at_cut } in cuts {
            place.mount(kind, Path::new(&image), "mounted").unwrap_or_else(|why| at_cut.fail(&why));
            at_cut.verify(&place.inside());
            place.unmount("mounted").unwrap_or_else(|why| at_cut.fail(&why));
            place.script(&format!("rm '{image}'")).unwrap_or_else(|why| at_cut.fail(&why));
        }
        place.mount(kind, &place.path("outer/image"), "mounted").unwrap_or_else(|why| log.fail(&why));
        log.verify(&place.inside());
        place.unmount("mounted").unwrap_or_else(|why| log.fail(&why));
    }
}

/// Cuts the power in a copy of the world.
fn cut(log: &Tortured, running: &Running, place: &Place, number: u64) -> Cut {
    let mut at_cut = log.fork();
    let before = running.heard();
    let image = place.path(&format!("outer/cut-{number}")).display().to_string();
    place.script(&format!("cp --reflink=always outer/image '{image}'")).unwrap_or_else(|why| log.fail(&why));
    let after = running.heard();
    at_cut.note(format!("cloned, behind {} to {} lines", before.lines().count(), after.lines().count()));
    hear(&mut at_cut, &before, after.lines());
    Cut { image, log: at_cut }
}

#[test]
fn a_clone_of_ext4_has_what_was_acknowledged() {
    clone_again_and_again(Kind::Ext4);
}

#[test]
fn a_clone_of_xfs_has_what_was_acknowledged() {
    clone_again_and_again(Kind::Xfs);
}

#[test]
fn a_clone_of_btrfs_has_what_was_acknowledged() {
    clone_again_and_again(Kind::Btrfs);
}

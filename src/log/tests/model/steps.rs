//! The changes that a sequence makes, at either end of the log, and what each must come to.

use super::Step;
use super::commits::NAME;
use super::draw::draw_batch;
use super::expected::{Kept, Unsettled, offset};
use super::world::World;
use crate::error::{Error, ErrorKind, Result};
use crate::log::{AppendOptions, Appended};
use crate::offset::Timestamp;
use crate::record::{BatchBuilder, BatchStamp, TimestampType, set_base_offset};

impl World<'_> {
    pub(super) fn append(&mut self, step: Step) {
        let now = self.now();
        let batches = if step == Step::AppendEncoded { 1 + self.chance.index(3) } else { 1 };
        let batches = (0..batches).map(|_| draw_batch(&mut self.chance, self.options.largest_value, now)).collect();
        self.append_batches(step, batches);
    }

    /// Hands in one batch, or several at once if they are encoded.
    pub(in crate::log::tests) fn append_batches(&mut self, step: Step, mut batches: Vec<Vec<Kept>>) {
        let now = self.now();
        let before = (self.log.log_end_offset(), self.log.stats().failed);
        let appended = self.hand_in(step, &batches, now);
        self.follow_start();
        for kept in batches.iter_mut().flatten() {
            let stamped = self.options.config.message_timestamp_type == TimestampType::LogAppendTime;
            kept.timestamp = if stamped { Some(now) } else { kept.timestamp.or(Some(now)) };
        }
        match &appended {
            Ok(appended) => {
                assert_eq!(appended.base_offset(), offset(self.expected.end), "offsets follow each other");
                batches.iter().for_each(|batch| self.expected.push(self.expected.end, batch));
                self.note_acknowledged(appended);
                if step == Step::AppendAndCommit && !self.disk.is_off() {
                    self.expected.commits.acknowledge();
                }
                if step == Step::AppendSynced {
                    assert!(self.log.synced_offset() >= appended.next_offset());
                    self.expect_nothing_at_risk();
                }
            }
            Err(Error::Failed { .. }) if !before.1 && self.log.stats().failed => {
                batches.iter().for_each(|batch| self.expected.push(self.expected.end, batch));
            }
            Err(_) => assert_eq!(self.log.log_end_offset(), before.0, "{appended:?} changed something"),
        }
        self.judge(appended.map(drop));
    }

    fn note_acknowledged(&mut self, appended: &Appended) {
        // A store into the map tells nobody that the process ended within it; whoever asked for it was told nothing either.
        if !self.disk.is_off() {
            self.expected.acknowledged = self.expected.end;
        }
        assert_eq!(appended.next_offset(), offset(self.expected.end));
        assert_eq!(self.log.log_end_offset(), appended.next_offset(), "readers see what was appended");
    }

    fn hand_in(&mut self, step: Step, batches: &[Vec<Kept>], now: Timestamp) -> Result<Appended> {
        let headers: Vec<Vec<_>> = batches[0].iter().map(Kept::header_pairs).collect();
        let records: Vec<_> = batches[0].iter().zip(&headers).map(|(kept, headers)| kept.record(headers)).collect();
        match step {
            Step::AppendAndCommit => {
                // Everything before these records was dealt with.
                let commit = self.expected.end;
                self.expected.commits.hand_in(commit);
                self.log.append_and_commit(&AppendOptions::default(), &records, &[(NAME, offset(commit))])
            }
            Step::Append => self.log.append(&records),
            Step::AppendSynced => self.log.append_with(&AppendOptions::default().sync(true), &records),
            Step::AppendBuilt => {
                let mut builder = BatchBuilder::new(self.options.config.compression);
                records.iter().for_each(|record| builder.push(*record).expect("a sound record"));
                let options = AppendOptions::default().expect_log_end(offset(self.expected.end));
                self.log.append_built(&options, &mut builder)
            }
            _ => {
                let encoded: Vec<u8> = batches.iter().flat_map(|batch| self.encode(batch, now)).collect();
                self.log.append_batch(&AppendOptions::default(), &encoded)
            }
        }
    }

    fn encode(&self, batch: &[Kept], now: Timestamp) -> Vec<u8> {
        let mut builder = BatchBuilder::new(self.options.config.compression);
        for kept in batch {
            builder.push(kept.record(&kept.header_pairs())).expect("a sound record");
        }
        builder.finish(&BatchStamp { now, ..BatchStamp::default() }).expect("a small batch").to_vec()
    }

    /// What another log had, offsets and all, some of them left out.
    pub(super) fn append_as_follower(&mut self) {
        let now = self.now();
        let mut due = self.expected.end;
        let mut batches = Vec::new();
        for _ in 0..1 + self.chance.index(3) {
            due += if self.chance.one_in(3) { self.chance.below(9) } else { 0 };
            let batch = draw_batch(&mut self.chance, self.options.largest_value, now);
            let base = due;
            due += u64::try_from(batch.len()).expect("a short batch");
            batches.push((base, batch));
        }
        self.follow(batches);
    }

    /// Takes over batches with their base offsets.
    pub(in crate::log::tests) fn follow(&mut self, mut batches: Vec<(u64, Vec<Kept>)>) {
        let now = self.now();
        let before = (self.log.log_end_offset(), self.log.stats().failed);
        let mut encoded = Vec::new();
        for (base, batch) in &mut batches {
            let mut bytes = self.encode(batch, now);
            set_base_offset(&mut bytes, offset(*base));
            encoded.extend_from_slice(&bytes);
            batch.iter_mut().for_each(|kept| kept.timestamp = kept.timestamp.or(Some(now)));
        }
        let appended = self.log.append_as_follower(&encoded);
        self.follow_start();
        match &appended {
            Ok(appended) => {
                batches.iter().for_each(|(base, batch)| self.expected.push(*base, batch));
                self.expected.gaps = true;
                self.note_acknowledged(appended);
            }
            Err(Error::Failed { .. }) if !before.1 => {
                self.expected.gaps = true;
                batches.iter().for_each(|(base, batch)| self.expected.push(*base, batch));
            }
            Err(Error::Failed { .. }) => {}
            Err(_) => {
                // Each batch is atomic, several are not together: the log end says how far it got.
                let end = self.log.log_end_offset().value();
                let mut reached = before.0.value();
                let in_log = |base: u64, batch: &[Kept]| base + u64::try_from(batch.len()).expect("short") <= end;
                for (base, batch) in batches.iter().filter(|(base, batch)| in_log(*base, batch)) {
                    self.expected.push(*base, batch);
                    self.expected.gaps = true;
                    self.expected.acknowledged = self.expected.end;
                    reached = self.expected.end;
                }
                assert_eq!(end, reached, "{appended:?} left the log in between");
            }
        }
        self.judge(appended.map(drop));
    }

    pub(super) fn truncate_to(&mut self) {
        let span = self.expected.end.saturating_sub(self.expected.start);
        let cut = self.expected.start + self.chance.below(span + 2);
        self.cut_to(cut);
    }

    pub(in crate::log::tests) fn cut_to(&mut self, cut: u64) {
        let outcome = self.log.truncate_to(offset(cut));
        if cut >= self.expected.end {
            return self.judge(outcome);
        }
        self.settle_cut(cut, outcome);
    }

    pub(super) fn truncate_to_batch(&mut self) {
        let span = self.expected.end.saturating_sub(self.expected.start);
        let asked = self.expected.start + self.chance.below(span + 2);
        self.cut_to_batch(asked);
    }

    pub(in crate::log::tests) fn cut_to_batch(&mut self, asked: u64) {
        let outcome = self.log.truncate_to_batch(offset(asked));
        if asked >= self.expected.end {
            return self.judge(outcome.map(drop));
        }
        // The batch that holds it goes whole.
        let across = self.expected.batches.range(asked + 1..).next().map_or(asked, |(_, base)| *base);
        let cut = across.min(asked);
        if let Ok(end) = &outcome {
            assert_eq!(*end, offset(cut), "asked for {asked}");
        }
        self.settle_cut(cut, outcome.map(drop));
    }

    fn settle_cut(&mut self, cut: u64, outcome: Result<()>) {
        self.expected.commits.note_cut();
        match &outcome {
            Ok(()) => {
                let end = self.log.log_end_offset().value();
                let last = self.expected.between(0, cut).last().map_or(self.expected.start, |(last, _)| last + 1);
                assert!(end == cut || (self.expected.gaps && end < cut && end >= last), "cut to {cut}, ends at {end}");
                self.expected.cut(end);
                self.expected.acknowledged = end;
                self.expected.durable = end;
                // A batch that the log start lay in may go whole.
                self.expected.start = self.expected.start.min(end);
                self.expected.durable_start = self.expected.durable_start.min(end);
                assert_eq!(self.log.synced_offset(), offset(end), "a cut is durable when it returns");
                self.expect_nothing_at_risk();
            }
            Err(error) if error.kind() == ErrorKind::Reopen || self.disk.is_off() => {
                self.expected.acknowledged = self.expected.acknowledged.min(cut);
                self.expected.durable = self.expected.durable.min(cut);
                self.expected.durable_start = self.expected.durable_start.min(cut);
                self.expected.unsettled = Some(Unsettled::CutTo(cut));
            }
            Err(_) => {}
        }
        self.judge(outcome);
    }

    pub(super) fn reset_to(&mut self) {
        let start = self.expected.end.saturating_sub(8) + self.chance.below(40);
        self.begin_anew(start);
    }

    pub(in crate::log::tests) fn begin_anew(&mut self, start: u64) {
        let outcome = self.log.reset_to(offset(start));
        self.expected.commits.note_cut();
        match &outcome {
            Ok(()) => {
                self.expected.reset(start);
                assert_eq!((self.log.log_start_offset(), self.log.log_end_offset()), (offset(start), offset(start)));
            }
            Err(error) if error.kind() == ErrorKind::Reopen || self.disk.is_off() => {
                self.expected.acknowledged = self.expected.durable_start.min(start);
                self.expected.durable = self.expected.acknowledged;
                self.expected.unsettled = Some(Unsettled::ResetTo(start));
            }
            Err(_) => {}
        }
        self.judge(outcome);
    }

    pub(super) fn delete_records_before(&mut self) {
        let span = self.expected.end.saturating_sub(self.expected.start);
        let start = self.expected.start + self.chance.below(span + 1);
        self.delete_before(start);
    }

    pub(in crate::log::tests) fn delete_before(&mut self, start: u64) {
        let outcome = self.log.delete_records_before(offset(start));
        match &outcome {
            Ok(now) => {
                assert_eq!(*now, offset(start));
                self.expected.start = start;
            }
            Err(error) if error.kind() == ErrorKind::Reopen || self.disk.is_off() => {
                self.expected.unsettled = Some(Unsettled::StartAt(start));
            }
            Err(_) => {}
        }
        self.follow_start();
        self.judge(outcome.map(drop));
    }

    pub(in crate::log::tests) fn delete_old_segments(&mut self) {
        let outcome = self.log.delete_old_segments(self.now());
        self.follow_start();
        if outcome.as_ref().is_ok_and(|deleted| deleted.segments > 0) {
            self.expected.durable_start = self.expected.start;
        }
        self.judge(outcome.map(drop));
    }

    /// Retention and the cap move the start where they will: to the front of a segment, and never back.
    pub(super) fn follow_start(&mut self) {
        let start = self.log.log_start_offset().value();
        assert!(start <= self.log.log_end_offset().value().max(self.expected.start));
        self.expected.start = self.expected.start.max(start);
    }
}

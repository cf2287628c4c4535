//! Which changes a crash keeps: the strengths, the questions that a crash state is made of, and three ways to answer.
//!
//! Answers come from a seed, from every combination in turn, or from the test. What a question means stands in
//! `content` and `state`. The invariant it owns: 0 always means that nothing is kept, the last option that everything
//! is.

use super::random::Random;

/// How much a crash may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CrashStrength {
    /// A power cut on the unkindest disk that POSIX allows: every name, every length and every 512-byte sector that was
    /// not synced is kept or lost by itself.
    Strict,
    /// A power cut on a journalling file system: the names of a directory are kept in order up to some change, a synced
    /// new file keeps its name, lengths are kept in order; data is as in `Strict`.
    Ordered,
    /// The end of the process: everything that was seen stays, and is as little synced as before.
    Kill,
}

/// A part of a change that a power cut keeps or loses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Atom {
    /// The change, counted over the whole disk in the order of the calls.
    pub(crate) sequence: u64,
    /// The file, or what the name leads to.
    pub(crate) inode: u64,
    pub(crate) part: Part,
}

/// What of a change is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// One sector of a write. Two options; for a store through a map three, of which the middle one is its first half.
    Data { sector: usize, sectors: usize },
    /// The new length. Two options, or for a write of n sectors behind the end n + 1: how many the length covers.
    Length,
    /// A link, an unlink or a rename. Two options.
    Name,
}

/// Answers a question with one of its options, counted from 0.
pub(super) type Choose<'a> = &'a mut dyn FnMut(&Atom, u64) -> u64;

/// Every combination of answers, one after the other.
#[derive(Debug, Default)]
pub(super) struct Odometer {
    answers: Vec<(u64, u64)>,
    next: usize,
}

impl Odometer {
    pub(super) fn answer(&mut self, options: u64) -> u64 {
        if self.next == self.answers.len() {
            self.answers.push((0, options));
        }
        let (answer, asked) = self.answers[self.next];
        assert_eq!(asked, options, "the same answers lead to the same questions");
        self.next += 1;
        answer
    }

    /// Turns to the next combination; `false` after the last.
    pub(super) fn turn(&mut self) -> bool {
        self.next = 0;
        while let Some((answer, options)) = self.answers.pop() {
            if answer + 1 < options {
                self.answers.push((answer + 1, options));
                return true;
            }
        }
        false
    }
}

/// Answers drawn from a seed, with the extremes at fixed probabilities.
#[derive(Debug)]
pub(super) struct Draw {
    shape: Shape,
    random: Random,
    /// How the change that was asked about last is torn.
    tear: Option<(u64, Tear)>,
}

/// What a crash state is like. Numbers are those of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    All,
    None,
    AllBut(u64),
    Only(u64),
    Before(u64),
    /// All before, this one in part, nothing after.
    TornAt(u64),
    /// Nothing but one sector of this one.
    OneSector(u64),
    /// All names and lengths, and of the data one sector.
    SectorAlone {
        sequence: u64,
        sector: usize,
    },
    /// Everything, but of one sector the first half only, where it can be halved.
    SectorHalved {
        sequence: u64,
        sector: usize,
    },
    /// Everything but one sector.
    SectorLost {
        sequence: u64,
        sector: usize,
    },
    Scattered,
}

#[derive(Clone, Copy, Debug)]
enum Tear {
    Nothing,
    Everything,
    Prefix(usize),
    Suffix(usize),
    Only(usize),
    Scattered,
}

impl Draw {
    /// `pending` are the sequence numbers of all changes that are not durable.
    pub(super) fn new(mut random: Random, pending: &[u64]) -> Draw {
        let shape = match (random.below(16), pending.last()) {
            (0, _) | (_, None) => Shape::All,
            (1, _) => Shape::None,
            (2, _) => Shape::AllBut(one_of(&mut random, pending)),
            (3, Some(last)) => Shape::AllBut(*last),
            (4, Some(last)) => Shape::Only(*last),
            (5, _) => Shape::Only(one_of(&mut random, pending)),
            (6, _) => Shape::Before(one_of(&mut random, pending)),
            (7, _) => Shape::OneSector(one_of(&mut random, pending)),
            (8, _) => Shape::TornAt(one_of(&mut random, pending)),
            (9, Some(last)) => Shape::TornAt(*last),
            _ => Shape::Scattered,
        };
        Draw::shaped(shape, random)
    }

    pub(super) fn shaped(shape: Shape, random: Random) -> Draw {
        Draw { shape, random, tear: None }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn answer(&mut self, atom: &Atom, options: u64) -> u64 {
        let asked = atom.sequence;
        let kept = match self.shape {
            Shape::All => true,
            Shape::None => false,
            Shape::AllBut(lost) => asked != lost,
            Shape::Only(kept) => asked == kept,
            Shape::Before(end) => asked < end,
            Shape::OneSector(kept) if asked == kept => return self.one_sector(atom, options),
            Shape::OneSector(_) => false,
            Shape::SectorAlone { sequence, sector } => match atom.part {
                Part::Data { sector: this, .. } => asked == sequence && this == sector,
                Part::Length | Part::Name => true,
            },
            Shape::SectorHalved { sequence, sector } if asked == sequence && options == 3 => match atom.part {
                Part::Data { sector: this, .. } if this == sector => return 1,
                _ => true,
            },
            Shape::SectorHalved { .. } => true,
            Shape::SectorLost { sequence, sector } => match atom.part {
                Part::Data { sector: this, .. } => asked != sequence || this != sector,
                Part::Length | Part::Name => true,
            },
            Shape::TornAt(torn) if asked == torn => return self.torn(atom, options),
            Shape::TornAt(torn) => asked < torn,
            Shape::Scattered => return self.torn(atom, options),
        };
        if kept { options - 1 } else { 0 }
    }

    fn one_sector(&mut self, atom: &Atom, options: u64) -> u64 {
        match atom.part {
            Part::Data { .. } => self.torn(atom, options),
            Part::Length | Part::Name => options - 1,
        }
    }

    fn torn(&mut self, atom: &Atom, options: u64) -> u64 {
        match atom.part {
            Part::Data { sector, sectors } => match self.tear(atom.sequence, sectors) {
                Tear::Nothing => 0,
                Tear::Everything => options - 1,
                Tear::Prefix(end) => {
                    if sector < end {
                        options - 1
                    } else {
                        0
                    }
                }
                Tear::Suffix(start) => {
                    if sector >= start {
                        options - 1
                    } else {
                        0
                    }
                }
                Tear::Only(kept) => {
                    if sector == kept {
                        options - 1
                    } else {
                        0
                    }
                }
                Tear::Scattered => self.random.below(options),
            },
            Part::Length | Part::Name => match self.random.below(4) {
                0 => 0,
                1 => options - 1,
                _ => self.random.below(options),
            },
        }
    }

    /// How a write is torn: settled by the question about its first sector.
    fn tear(&mut self, sequence: u64, sectors: usize) -> Tear {
        if let Some((settled, tear)) = self.tear
            && settled == sequence
        {
            return tear;
        }
        let tear = match self.shape {
            Shape::OneSector(_) => Tear::Only(self.sector_below(sectors)),
            _ => self.draw_tear(sectors),
        };
        self.tear = Some((sequence, tear));
        tear
    }

    fn draw_tear(&mut self, sectors: usize) -> Tear {
        match self.random.below(8) {
            0 | 1 => Tear::Nothing,
            2 | 3 => Tear::Everything,
            4 => Tear::Prefix(self.sector_below(sectors)),
            5 => Tear::Suffix(self.sector_below(sectors)),
            6 => Tear::Only(self.sector_below(sectors)),
            _ => Tear::Scattered,
        }
    }

    fn sector_below(&mut self, sectors: usize) -> usize {
        let bound = u64::try_from(sectors).expect("a length in memory fits 64 bits");
        usize::try_from(self.random.below(bound)).expect("less than a length in memory")
    }
}

fn one_of(random: &mut Random, pending: &[u64]) -> u64 {
    let count = u64::try_from(pending.len()).expect("a length in memory fits 64 bits");
    let index = usize::try_from(random.below(count)).expect("less than a length in memory");
    pending[index]
}

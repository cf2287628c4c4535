//! The balances as of an offset: what the events below it add up to.
//!
//! The invariant it owns: a book changes by whole events only, each once and in their order, and is never overdrawn.

use std::fmt;

use kstore::{Log, Offset};

use super::Failure;

pub(crate) const ACCOUNTS: usize = 10;
pub(crate) const OPENING_BALANCE: u64 = 1000;
/// Money is moved and never made, so that every book must add up to this.
const TOTAL: u64 = ACCOUNTS as u64 * OPENING_BALANCE;

/// Balances, and the offset of the first event that is not in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Book {
    next: Offset,
    balances: [u64; ACCOUNTS],
}

impl Book {
    /// The offset of the first event that this book does not know.
    pub(crate) fn next(&self) -> Offset {
        self.next
    }

    pub(crate) fn balance(&self, account: usize) -> u64 {
        self.balances[account]
    }

    /// Replays the events from `next` to the log end.
    pub(crate) fn catch_up(&mut self, log: &Log) -> Result<(), Failure> {
        for record in log.records(self.next..)? {
            let record = record?;
            let event = std::str::from_utf8(record.value().unwrap_or_default())?;
            self.apply(event).map_err(|why| format!("event {} ({event}): {why}", record.offset()))?;
            self.next = record.offset() + 1;
        }
        Ok(())
    }

    /// Fails if money was made or lost.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let total: u64 = self.balances.iter().sum();
        if total == TOTAL { Ok(()) } else { Err(format!("the book adds up to {total}, not to {TOTAL}: {self}").into()) }
    }

    fn apply(&mut self, event: &str) -> Result<(), Failure> {
        let words: Vec<&str> = event.split(' ').collect();
        match words.as_slice() {
            ["open", account, amount] => *self.account(account)? += amount.parse::<u64>()?,
            ["move", from, to, amount] => {
                let amount: u64 = amount.parse()?;
                let from = self.account(from)?;
                *from = from.checked_sub(amount).ok_or("the account would be overdrawn")?;
                *self.account(to)? += amount;
            }
            _ => return Err("no such event".into()),
        }
        Ok(())
    }

    fn account(&mut self, number: &str) -> Result<&mut u64, Failure> {
        Ok(self.balances.get_mut(number.parse::<usize>()?).ok_or("no such account")?)
    }

    /// The book as a line of text: the offset, then the balances.
    pub(crate) fn to_line(&self) -> String {
        self.balances.iter().fold(self.next.to_string(), |line, balance| format!("{line} {balance}"))
    }

    /// The book of a line that [`Book::to_line`] gave.
    pub(crate) fn of_line(line: &str) -> Result<Book, Failure> {
        let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let (&next, balances) = numbers.split_first().ok_or("an empty line")?;
        let book = Book { next: Offset::new(next), balances: balances.try_into()? };
        book.check()?;
        Ok(book)
    }
}

impl fmt::Display for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.balances.iter().sum();
        write!(f, "{} events, balances {:?}, {total} in all", self.next, self.balances)
    }
}

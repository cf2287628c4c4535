//! The program on the front page: open a log, append, sync, read back, and send the same bytes without a copy.
//!
//! Run it twice: the log is still there, and the second run goes on where the first one ended.

use kstore::{Log, LogConfig, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Open or create. A torn tail left by a crash is cut off here, not later.
    let log = Log::open("data/orders-0", LogConfig::default().segment_bytes(64 << 20))?;

    // One append is one record batch: after a crash all of it is there, or none.
    let appended = log.append(&[Record::new("o-7", "paid"), Record::tombstone("o-3")])?;
    log.sync()?; // everything below log_end_offset() is on disk from here on

    for record in log.records(appended.base_offset()..)? {
        let record = record?;
        println!("{} -> {:?}", record.offset(), record.value());
    }

    // The same bytes, from page cache to socket, without a copy through this process.
    // A slice pins its file: retention may delete the segment, the slice still reads.
    let (socket, _peer) = std::os::unix::net::UnixStream::pair()?;
    log.read(appended.base_offset(), 1 << 20)?.send_to(&socket)?;

    Ok(log.close()?)
}

//! The example `sendfile_server`, and its clients: fast, slow, deaf, broken, and many at once.
//!
//! What a client must get is computed from the bytes of the `.log` files alone. No test depends on how fast anything
//! is; who waits in vain fails after a minute.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about programs")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kstore::{Log, LogConfig, Record};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::golden::contents;
use support::programs::{complaint, program, run};
use tempfile::tempdir;

mod support;

const PATIENCE: Duration = Duration::from_secs(60);
/// What an answer holds at most, unless a single batch is larger.
const ANSWER_BYTES: u64 = 1 << 20;
const OUT_OF_RANGE: u32 = 0x8000_0001;
const NO_MAXIMUM: u32 = 0x8000_0002;
const DAMAGED: u32 = 0x8000_0003;

/// A running server, which does not outlive its test.
struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn over(dir: &Path) -> Server {
        let mut command = program("sendfile_server");
        let mut child = command
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("an example program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a readable pipe");
        let address = line.trim_end().strip_prefix("listening on ").expect("the first line tells the port").to_owned();
        Server { stdin: child.stdin.take(), child, stdout, address }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.address).expect("a listener");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }

    fn produce(&mut self, lines: &str) {
        self.stdin.as_mut().expect("it was not ended").write_all(lines.as_bytes()).expect("a reader");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a small number")), signal).expect("it still runs");
    }

    /// The exit status, what was printed last, and the complaints.
    fn ended(mut self) -> (ExitStatus, String, String) {
        let (mut printed, mut complaints) = (String::new(), String::new());
        self.stdout.read_to_string(&mut printed).expect("UTF-8");
        self.child.stderr.take().expect("a pipe").read_to_string(&mut complaints).expect("UTF-8");
        (self.child.wait().expect("it ends"), printed, complaints)
    }

    fn end_input(mut self) -> (ExitStatus, String, String) {
        drop(self.stdin.take());
        self.ended()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that ended already cannot be killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn request(offset: u64, max_bytes: u32) -> Vec<u8> {
    [&offset.to_be_bytes()[..], &max_bytes.to_be_bytes()].concat()
}

/// What stands before the batches of an answer, or instead of them.
fn head(socket: &mut TcpStream) -> u32 {
    let mut head = [0; 4];
    socket.read_exact(&mut head).expect("an answer");
    u32::from_be_bytes(head)
}

/// The batches of an answer, read in pieces of this size.
fn batches(socket: &mut TcpStream, piece_bytes: usize) -> Vec<u8> {
    let length = head(socket);
    assert!(length < 0x8000_0000, "refused: {length:#x}");
    let mut bytes = vec![0; usize::try_from(length).expect("64 bits")];
    bytes.chunks_mut(piece_bytes).for_each(|piece| socket.read_exact(piece).expect("the rest of an answer"));
    bytes
}

fn fetch(socket: &mut TcpStream, offset: u64, max_bytes: u32) -> Vec<u8> {
    socket.write_all(&request(offset, max_bytes)).expect("a server");
    batches(socket, usize::MAX)
}

fn refusal(socket: &mut TcpStream, offset: u64, max_bytes: u32) -> u32 {
    socket.write_all(&request(offset, max_bytes)).expect("a server");
    head(socket)
}

/// Everything from an offset to the end, in as many requests as it takes.
fn fetch_all(socket: &mut TcpStream, mut offset: u64, max_bytes: u32) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let bytes = fetch(socket, offset, max_bytes);
        let Some((_, last, _)) = headers(&bytes).last().copied() else { return all };
        offset = last + 1;
        all.extend(bytes);
    }
}

/// The same, once the log ends at `end`.
fn fetch_until(socket: &mut TcpStream, offset: u64, end: u64) -> Vec<u8> {
    let begin = Instant::now();
    loop {
        let bytes = fetch_all(socket, offset, 1 << 20);
        if headers(&bytes).last().is_some_and(|&(_, last, _)| last + 1 == end) {
            return bytes;
        }
        assert!(begin.elapsed() < PATIENCE, "the log never ended at {end}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// First offset, last offset and length of each batch.
fn headers(mut bytes: &[u8]) -> Vec<(u64, u64, usize)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let base = u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
        let length = 12 + usize::try_from(number(8)).expect("64 bits");
        found.push((base, base + u64::from(number(23)), length));
        bytes = &bytes[length..];
    }
    found
}

/// The `.log` files of a directory, oldest first.
struct Stored(Vec<Vec<u8>>);

impl Stored {
    fn of(dir: &Path) -> Stored {
        let mut files: Vec<_> = contents(dir).into_iter().filter(|(name, _)| name.ends_with(".log")).collect();
        files.sort();
        Stored(files.into_iter().map(|(_, bytes)| bytes).collect())
    }

    /// The batch that holds the offset, and those of the same file that fit with it.
    fn answer(&self, offset: u64, max_bytes: u32) -> &[u8] {
        let budget = usize::try_from(u64::from(max_bytes).min(ANSWER_BYTES)).expect("64 bits");
        for file in &self.0 {
            let mut start = 0;
            let mut rest = headers(file).into_iter();
            for (_, last, length) in rest.by_ref() {
                if last >= offset {
                    let mut end = start + length;
                    for (_, _, more) in rest {
                        if end + more - start > budget {
                            break;
                        }
                        end += more;
                    }
                    return &file[start..end];
                }
                start += length;
            }
        }
        &[]
    }

    fn end(&self) -> u64 {
        self.0.iter().rev().find_map(|file| headers(file).last().map(|&(_, last, _)| last + 1)).unwrap_or(0)
    }
}

/// A log in several segments, with batches of all sizes, one of them larger than an answer should be. It is closed.
fn fill(dir: &Path) -> Stored {
    let log = Log::open(dir, LogConfig::default().segment_bytes(3 << 20)).expect("a new log");
    for number in 0..200_usize {
        let value = vec![b'a' + u8::try_from(number % 26).expect("one of 26"); 1 + number * 7919 % 70_000];
        let records: Vec<_> = (0..=number % 3).map(|_| Record::value(&value)).collect();
        log.append(&records).expect("room");
        if number == 100 {
            log.append(&[Record::value(&vec![b'z'; 2 << 20])]).expect("room");
        }
    }
    log.close().expect("a healthy disk");
    let stored = Stored::of(dir);
    assert!(stored.0.len() > 3, "there are {} segments", stored.0.len());
    stored
}

/// Decodes what a client got as any reader of Kafka's format would, checksums included.
fn decode(bytes: &[u8]) -> Vec<(u64, String)> {
    let folder = tempdir().expect("a temporary folder");
    let base = headers(bytes).first().map_or(0, |&(base, _, _)| base);
    std::fs::write(folder.path().join(format!("{base:020}.log")), bytes).expect("a new file");
    let reader = Log::open_read_only(folder.path()).expect("batches make a segment");
    let records = reader.records(..).expect("an open log").map(|record| record.expect("a sound batch"));
    let text = |value: Option<&[u8]>| String::from_utf8(value.expect("a value").to_vec()).expect("UTF-8");
    records.map(|record| (record.offset().value(), text(record.value()))).collect()
}

/// Offsets of the whole log in no order, with maxima from the smallest on.
fn questions(seed: u64, end: u64, count: u64) -> impl Iterator<Item = (u64, u32)> {
    const MAXIMA: [u32; 6] = [1, 100, 20_000, 300_000, 1 << 20, u32::MAX];
    (0..count).map(move |number| {
        let maximum = MAXIMA[usize::try_from((seed + number) % 6).expect("one of 6")];
        ((seed + number) * 7919 % (end + 1), maximum)
    })
}

// Row 71.
#[test]
fn each_of_many_clients_gets_the_stored_bytes_and_waits_for_no_slow_one() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let stored = fill(&dir);
    let server = Server::over(&dir);
    let end = stored.end();
    // Far more than the buffers between two sockets take: each is left in the middle of an answer.
    let ask_for_a_lot = |seed: u64| {
        let mut socket = server.connect();
        let asked: Vec<_> = (0..40).map(|number| ((seed * 31 + number * 5) % (end - 100), 1 << 20)).collect();
        let requests: Vec<u8> = asked.iter().flat_map(|&(offset, maximum)| request(offset, maximum)).collect();
        socket.write_all(&requests).expect("a server");
        (socket, asked)
    };
    let slow: Vec<_> = (1..4).map(ask_for_a_lot).collect();
    let deaf = ask_for_a_lot(4);
    std::thread::scope(|scope| {
        for seed in 0..16 {
            let (server, stored) = (&server, &stored);
            scope.spawn(move || {
                let mut socket = server.connect();
                for (offset, maximum) in questions(seed, end, 30) {
                    let bytes = fetch(&mut socket, offset, maximum);
                    assert!(bytes == stored.answer(offset, maximum), "{maximum} bytes from {offset} on");
                }
            });
        }
    });
    // All others are done; now the slow ones read, in small pieces, what they asked for so long ago.
    std::thread::scope(|scope| {
        for (mut socket, asked) in slow {
            let stored = &stored;
            scope.spawn(move || {
                for (offset, maximum) in asked {
                    let bytes = batches(&mut socket, 5000);
                    assert!(bytes == stored.answer(offset, maximum), "{maximum} bytes from {offset} on");
                }
            });
        }
    });
    // The one that never read leaves in the middle of an answer.
    drop(deaf);
    let all = fetch_all(&mut server.connect(), 0, u32::MAX);
    assert!(all == stored.0.concat(), "reading on from slice to slice gives the whole log");
    let records = decode(&all);
    assert!(records.iter().map(|(offset, _)| *offset).eq(0..end));
    assert!(records.iter().any(|(_, value)| value.len() == 2 << 20));
    let (status, printed, complaints) = server.end_input();
    assert!(status.success(), "{complaints}");
    assert_eq!((printed, complaints), (format!("stopped, the log ends at offset {end}\n"), String::new()));
}

#[test]
fn each_line_of_input_is_a_record_that_clients_get_once_it_is_there() {
    let folder = tempdir().expect("a temporary folder");
    let mut server = Server::over(folder.path());
    let mut socket = server.connect();
    assert!(fetch(&mut socket, 0, 100).is_empty(), "the end of an empty log");
    let mut expected = Vec::new();
    for round in 0..20_u64 {
        let lines: Vec<String> = (0..=round).map(|number| format!("line {number} of {round}")).collect();
        server.produce(&(lines.join("\n") + "\n"));
        let first = expected.len() as u64;
        expected.extend((first..).zip(lines));
        let found = fetch_until(&mut socket, first, expected.len() as u64);
        assert_eq!(decode(&found), expected[usize::try_from(first).expect("64 bits")..]);
    }
    server.produce("\nthe last line, without an end");
    let (status, printed, complaints) = server.end_input();
    assert!(status.success(), "{complaints}");
    expected.extend([(210, String::new()), (211, "the last line, without an end".into())]);
    assert_eq!(printed, "stopped, the log ends at offset 212\n");
    assert_eq!(decode(&Stored::of(folder.path()).0.concat()), expected);
}

#[test]
fn a_request_that_cannot_be_met_is_refused_and_the_connection_goes_on() {
    let folder = tempdir().expect("a temporary folder");
    let stored = fill(folder.path());
    let end = stored.end();
    // The first batch of the second segment claims to be larger than its file.
    let second = contents(folder.path()).into_keys().filter(|name| name.ends_with(".log")).nth(1).expect("a segment");
    let path = folder.path().join(second);
    let mut bytes = std::fs::read(&path).expect("a readable file");
    bytes[8] = 0x7f;
    std::fs::write(&path, bytes).expect("a writable file");
    let damaged = headers(&stored.0[1])[0].0;

    let server = Server::over(folder.path());
    let mut socket = server.connect();
    for (offset, maximum, why) in [
        (end + 1, 100, OUT_OF_RANGE),
        (u64::MAX, 100, OUT_OF_RANGE),
        (u64::MAX, u32::MAX, OUT_OF_RANGE),
        (1 << 63, 1, OUT_OF_RANGE),
        (0, 0, NO_MAXIMUM),
        (u64::MAX, 0, NO_MAXIMUM),
        (end, 0, NO_MAXIMUM),
        (damaged, 100, DAMAGED),
    ] {
        assert_eq!(refusal(&mut socket, offset, maximum), why, "{maximum} bytes from {offset} on");
        assert!(fetch(&mut socket, 3, 1) == stored.answer(3, 1));
    }
    assert!(fetch(&mut socket, end, 1).is_empty(), "nothing is there yet");
    let (status, _, complaints) = server.end_input();
    assert!(status.success());
    assert!(complaints.lines().count() == 1 && complaints.contains("is damaged at byte 0"), "{complaints}");
}

#[test]
fn a_client_that_stops_halfway_gets_what_it_asked_for_and_harms_nobody() {
    let folder = tempdir().expect("a temporary folder");
    let stored = fill(folder.path());
    let server = Server::over(folder.path());
    let mut witness = server.connect();
    let mut still_served = || assert!(fetch(&mut witness, 7, 1000) == stored.answer(7, 1000));

    // In pieces: a request is one once all of it is there.
    let mut socket = server.connect();
    socket.set_nodelay(true).expect("a socket");
    for byte in request(5, 1000) {
        socket.write_all(&[byte]).expect("a server");
        still_served();
    }
    assert!(batches(&mut socket, usize::MAX) == stored.answer(5, 1000));

    // Half-closed: two whole requests are answered, the half one behind them is not, then it is over.
    let asked = [request(0, u32::MAX), request(100, u32::MAX), request(0, 1)[..7].to_vec()].concat();
    socket.write_all(&asked).expect("a server");
    socket.shutdown(Shutdown::Write).expect("a socket");
    for offset in [0, 100] {
        assert!(batches(&mut socket, 3000) == stored.answer(offset, u32::MAX));
    }
    assert_eq!(socket.read(&mut [0]).expect("the end of it"), 0);
    still_served();

    // Garbage that never heard of the protocol, answered as the requests that it looks like.
    let mut socket = server.connect();
    socket.write_all(&[0xff; 1000]).expect("a server");
    socket.shutdown(Shutdown::Write).expect("a socket");
    let mut answers = Vec::new();
    socket.read_to_end(&mut answers).expect("the end of it");
    assert_eq!(answers, OUT_OF_RANGE.to_be_bytes().repeat(1000 / 12));
    let mut socket = server.connect();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("a server");
    assert_eq!(head(&mut socket), OUT_OF_RANGE);

    // Gone: at once, within a request, and with an answer on its way.
    for begun in [vec![], vec![0; 5], request(0, u32::MAX).repeat(40)] {
        let mut socket = server.connect();
        socket.write_all(&begun).expect("a server");
        drop(socket);
        still_served();
    }
    let (status, _, complaints) = server.end_input();
    assert!(status.success());
    assert_eq!(complaints, "");
}

#[test]
fn who_comes_when_too_many_are_connected_is_served_once_others_left() {
    let folder = tempdir().expect("a temporary folder");
    let stored = fill(folder.path());
    let server = Server::over(folder.path());
    // More than the server takes, and fewer than it and the system together.
    let idle: Vec<TcpStream> = (0..530).map(|_| server.connect()).collect();
    let mut late = server.connect();
    late.write_all(&request(7, 1000)).expect("the system keeps it");
    drop(idle);
    assert!(batches(&mut late, usize::MAX) == stored.answer(7, 1000));
}

#[test]
fn a_server_that_is_told_to_stop_has_lost_no_line_and_does_not_wait_for_its_clients() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = tempdir().expect("a temporary folder");
        let mut server = Server::over(folder.path());
        let long = "x".repeat(50_000);
        let lines: Vec<String> = (0..100).map(|number| format!("{number} {long}")).collect();
        server.produce(&(lines.join("\n") + "\nno line yet"));
        let mut socket = server.connect();
        fetch_until(&mut socket, 0, 100);
        // It never reads what it asks for.
        socket.write_all(&request(0, u32::MAX).repeat(40)).expect("a server");
        server.signal(signal);
        let (status, printed, complaints) = server.ended();
        assert!(status.success(), "{complaints}");
        assert_eq!(printed, "stopped, the log ends at offset 100\n");
        let log = Log::open(folder.path(), LogConfig::default()).expect("nobody has it open");
        assert_eq!(log.recovery_report(), kstore::RecoveryReport::default(), "it was closed cleanly");
        let values: Vec<_> = log.records(..).expect("an open log").map(|record| record.expect("sound")).collect();
        assert!(values.iter().map(|record| record.value()).eq(lines.iter().map(|line| Some(line.as_bytes()))));
    }
}

#[test]
fn a_port_or_a_log_that_is_taken_ends_a_second_server() {
    let folder = tempdir().expect("a temporary folder");
    let server = Server::over(&folder.path().join("first"));
    let second = run(program("sendfile_server").arg(folder.path().join("first")), b"");
    assert_eq!(second.status.code(), Some(1));
    assert!(complaint(&second).contains("is already open"), "{}", complaint(&second));
    let second =
        run(program("sendfile_server").arg(folder.path().join("second")).args(["--listen", &server.address]), b"");
    assert_eq!(second.status.code(), Some(1));
    assert!(complaint(&second).contains(&format!("listening on {}", server.address)), "{}", complaint(&second));
    assert!(second.stdout.is_empty());
}

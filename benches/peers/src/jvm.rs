//! The peers that run in a JVM: Apache Kafka's own log layer and Chronicle Queue.
//!
//! They are built by Maven outside the tree, once a run, and run as the others do: a process a round, that tells its
//! figures in its last line. It repeats the work before, until the compiler has seen all of it. Where `mvn` or `java`
//! is missing, or nothing can be fetched, there is a reason in place of columns.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::driver::Column;
use crate::peers::Terms;
use crate::rows::{Row, Shape};

/// What a JVM runs, and for which rows.
struct Peer {
    name: &'static str,
    terms: Terms,
}

const PEERS: [Peer; 2] = [
    Peer {
        name: "kafka-log",
        terms: Terms {
            used_as: "`UnifiedLog` of Kafka 4.4.0 without the network: a call encodes a batch as a producer does and \
                appends it as a leader does; `read` of 1 MiB, or of one batch, decoded as a consumer does",
            checksum: "CRC-32C over each batch; verified by every read here, as a consumer does",
            atomic: "a call: one record batch",
            plain_append: "the end of the process; sealed segments are synced in the background",
            durable_append: "`flush.messages=1`: an `fsync` within each append, under the log's lock",
            copies: "two: encoded into a buffer, and by the system; read into a buffer, a record borrows from it",
        },
    },
    Peer {
        name: "chronicle-queue",
        terms: Terms {
            used_as: "`SingleChronicleQueue` 2026.4, default options: a record is an excerpt, a batch is one excerpt \
                with a length before each record; a lookup is `moveToIndex` of an index that was kept in memory; it \
                rolls by time, and so never here",
            checksum: "none",
            atomic: "a call: one excerpt",
            plain_append: "the end of the process",
            durable_append: "`SyncMode.SYNC` and `sync()` after each append: `msync`, each thread its own",
            copies: "one: stored into the mapped file; read from it in place",
        },
    },
];

/// As Kafka's own start script has it, with all of the heap there from the start.
const MEMORY: [&str; 4] = ["-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"];

/// What Chronicle's documents ask for on Java 17.
const OPENED: [&str; 9] = [
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=jdk.unsupported/sun.misc=ALL-UNNAMED",
    "--add-exports=jdk.compiler/com.sun.tools.javac.file=ALL-UNNAMED",
    "--add-opens=jdk.compiler/com.sun.tools.javac=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
];

/// How long the work is repeated before it is timed.
fn warm_seconds(quick: bool) -> u32 {
    if quick { 2 } else { 15 }
}

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PEERS.iter().map(|peer| peer.name)
}

/// The columns among those names.
///
/// # Errors
/// Why there are none.
pub(crate) fn columns(quick: bool, names: &[String]) -> Result<Vec<Column>, String> {
    let chosen: Vec<&Peer> = PEERS.iter().filter(|peer| crate::is_named(names, peer.name)).collect();
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let built = build()?;
    Ok(chosen.into_iter().map(|peer| column(peer, &built, quick)).collect())
}

fn column(peer: &Peer, built: &Path, quick: bool) -> Column {
    let classes = format!("{0}/classes:{0}/lib/*", built.display());
    let name = peer.name;
    let command = move |_: &Row, shape: &Shape, dir: &Path| {
        let mut command = Command::new("java");
        command.args(MEMORY).args(OPENED).args(["-cp", &classes, "Peers", name]).arg(dir);
        command.arg(warm_seconds(quick).to_string()).args(words(shape));
        Ok(command)
    };
    Column { name, terms: peer.terms, refuses: |_| None, command: Box::new(command) }
}

/// A shape as arguments, in the order in which `Shape.java` reads them.
fn words(shape: &Shape) -> Vec<String> {
    let Shape { kind, value_bytes, batch_records, encoded_bytes, calls, latency_calls, threads, segment_bytes, reads } =
        *shape;
    let kind = match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(kind)) => kind,
        other => unreachable!("a kind is a word: {other:?}"),
    };
    let numbers = [value_bytes, batch_records, encoded_bytes, calls, latency_calls, threads, segment_bytes, reads];
    std::iter::once(kind).chain(numbers.map(|number| number.to_string())).collect()
}

fn build() -> Result<PathBuf, String> {
    eprintln!("building what runs in a JVM");
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("jvm/pom.xml");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers-jvm");
    Command::new("java").arg("-version").output().map_err(|error| format!("java: {error}"))?;
    let mut command = Command::new("mvn");
    command.args(["-q", "-B", "-f"]).arg(&project).arg("package").arg(format!("-Dkstore.build={}", out.display()));
    let output = command.output().map_err(|error| format!("mvn: {error}"))?;
    if output.status.success() {
        return Ok(out);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Err(format!("mvn failed: {}", said.lines().find(|line| line.contains("ERROR")).unwrap_or("no reason given")))
}

#[cfg(test)]
mod tests {
    use super::{columns, words};
    use crate::rows::ROWS;

    #[test]
    fn a_shape_is_told_as_a_word_and_eight_numbers() {
        let shape = ROWS[0].shape(true).expect("a shape");
        let words = words(&shape);
        assert_eq!(words[0], "single");
        assert_eq!(words[1..4], ["100".to_string(), "1".to_string(), shape.encoded_bytes.to_string()]);
        assert_eq!(words.len(), 9);
    }

    #[test]
    fn nothing_is_built_for_peers_that_are_not_asked_for() {
        assert!(columns(true, &["redb".to_string()]).is_ok_and(|columns| columns.is_empty()));
    }
}

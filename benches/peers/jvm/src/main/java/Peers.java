import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;

/**
 * One round of one row by one peer, as the Rust side asks for it; its last line is what it told there: the figures as JSON.
 *
 *   Peers PEER DIR WARM_SECONDS KIND VALUE_BYTES BATCH_RECORDS ENCODED_BYTES CALLS LATENCY_CALLS THREADS SEGMENT_BYTES READS
 *
 * The same work is done before, smaller and again and again, ten times and for so many seconds at least, so that what is timed is
 * compiled.
 */
public final class Peers {
    private static final int FIRST_CALLS = 8;
    private static final int WARM_ROUNDS = 10;
    private static final int WARM_BYTES = 2 << 20;
    private static final int WARM_DURABLE_CALLS = 8;

    public static void main(String[] words) throws Exception {
        endWithWhoeverWaits();
        Values.check();
        Peer.Opening opening = switch (words[0]) {
            case "kafka-log" -> KafkaPeer::new;
            case "chronicle-queue" -> ChroniclePeer::new;
            default -> throw new IllegalArgumentException(words[0]);
        };
        Path dir = Path.of(words[1]);
        Shape shape = Shape.of(words, 3);
        long warmUntil = System.nanoTime() + Long.parseLong(words[2]) * 1_000_000_000L;
        for (int done = 0; done < WARM_ROUNDS || System.nanoTime() < warmUntil; done++) {
            Path warm = Files.createDirectory(dir.resolve("warm"));
            round(opening, warm, shape.small(WARM_BYTES, WARM_DURABLE_CALLS));
            delete(warm);
        }
        System.gc();
        System.out.println(round(opening, Files.createDirectory(dir.resolve("data")), shape));
        System.out.flush();
        // Nothing that still runs is waited for.
        Runtime.getRuntime().halt(0);
    }

    /** The other end of standard input is open as long as somebody waits for the figures. */
    private static void endWithWhoeverWaits() {
        Thread thread = new Thread(() -> {
            try {
                while (System.in.read() >= 0) continue;
            } catch (IOException ended) {
                System.err.println(ended);
            }
            Runtime.getRuntime().halt(3);
        });
        thread.setDaemon(true);
        thread.start();
    }

    private static String round(Peer.Opening opening, Path dir, Shape shape) throws Exception {
        Values values = new Values(shape.valueBytes());
        return switch (shape.kind()) {
            case "scan" -> scan(opening, dir, shape, values);
            case "lookup" -> lookup(opening, dir, shape, values);
            case "reopen" -> reopen(opening, dir, shape, values);
            default -> append(opening, dir, shape, values);
        };
    }

    private static String append(Peer.Opening opening, Path dir, Shape shape, Values values) throws Exception {
        long before = counter("write_bytes:");
        Cost cost = new Cost();
        long[] latencies;
        long appended;
        try (Peer peer = opening.open(dir.toFile(), shape, values)) {
            switch (shape.kind()) {
                case "single" -> {
                    latencies = new long[shape.latencyCalls()];
                    appended = appendSingle(peer, shape, cost, latencies);
                }
                case "batch" -> {
                    latencies = new long[shape.calls()];
                    appended = appendBatches(peer, shape, cost, latencies);
                }
                default -> {
                    latencies = new long[shape.calls() * shape.threads()];
                    appended = appendDurably(peer, shape, cost, latencies);
                }
            }
            long found = peer.scan().records;
            if (found != appended) throw new IllegalStateException(appended + " records were appended, and " + found + " are there");
        }
        Arrays.sort(latencies);
        String written = "{\"payload_bytes\":" + appended * shape.valueBytes() + ",\"counted_bytes\":" + (counter("write_bytes:") - before)
            + ",\"stored_bytes\":" + storedBytes(dir) + "}";
        return cost.figures(shape.records(), (long) shape.records() * shape.valueBytes(), percentiles(latencies), written);
    }

    private static long appendSingle(Peer peer, Shape shape, Cost cost, long[] latencies) throws Exception {
        for (int call = 0; call < FIRST_CALLS; call++) peer.append(call);
        cost.begin();
        for (int call = 0; call < shape.calls(); call++) peer.append(call);
        cost.end();
        long before = System.nanoTime();
        for (int call = 0; call < latencies.length; call++) {
            peer.append(call);
            long after = System.nanoTime();
            latencies[call] = after - before;
            before = after;
        }
        return FIRST_CALLS + shape.calls() + (long) latencies.length;
    }

    private static long appendBatches(Peer peer, Shape shape, Cost cost, long[] latencies) throws Exception {
        peer.appendBatch(shape.batchRecords());
        cost.begin();
        long before = System.nanoTime();
        for (int call = 0; call < shape.calls(); call++) {
            peer.appendBatch(shape.batchRecords());
            long after = System.nanoTime();
            latencies[call] = after - before;
            before = after;
        }
        cost.end();
        return (1L + shape.calls()) * shape.batchRecords();
    }

    private static long appendDurably(Peer peer, Shape shape, Cost cost, long[] latencies) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(shape.threads());
        CountDownLatch ready = new CountDownLatch(shape.threads());
        CountDownLatch begin = new CountDownLatch(1);
        Future<?>[] running = new Future<?>[shape.threads()];
        for (int thread = 0; thread < running.length; thread++) {
            int from = thread * shape.calls();
            running[thread] = threads.submit(() -> {
                try (Peer.Durably own = peer.durably()) {
                    own.append(0);
                    ready.countDown();
                    begin.await();
                    long before = System.nanoTime();
                    for (int call = 0; call < shape.calls(); call++) {
                        own.append(call);
                        long after = System.nanoTime();
                        latencies[from + call] = after - before;
                        before = after;
                    }
                } finally {
                    ready.countDown();
                }
                return null;
            });
        }
        ready.await();
        cost.begin();
        begin.countDown();
        for (Future<?> thread : running) thread.get();
        cost.end();
        threads.shutdown();
        return shape.threads() + (long) shape.records();
    }

    private static void fill(Peer peer, Shape shape) throws Exception {
        for (int call = 0; call < shape.calls(); call++) {
            if (shape.batchRecords() == 1) {
                peer.append(call);
            } else {
                peer.appendBatch(shape.batchRecords());
            }
        }
    }

    private static String scan(Peer.Opening opening, Path dir, Shape shape, Values values) throws Exception {
        Cost cost = new Cost();
        try (Peer peer = opening.open(dir.toFile(), shape, values)) {
            fill(peer, shape);
            readOnce(dir);
            cost.begin();
            Sum found = peer.scan();
            cost.end();
            Sum given = values.sum(shape);
            if (!found.is(given)) throw new IllegalStateException("given: " + given + ", read: " + found);
        }
        return cost.figures(shape.records(), (long) shape.records() * shape.valueBytes(), "null", "null");
    }

    private static String lookup(Peer.Opening opening, Path dir, Shape shape, Values values) throws Exception {
        Cost cost = new Cost();
        int[] asked = Values.randomRecords(shape.calls(), shape.reads());
        int wrong = 0;
        try (Peer peer = opening.open(dir.toFile(), shape, values)) {
            fill(peer, shape);
            readOnce(dir);
            if (!peer.lookup(0)) wrong++;
            cost.begin();
            for (int record : asked) {
                if (!peer.lookup(record)) wrong++;
            }
            cost.end();
        }
        if (wrong > 0) throw new IllegalStateException(wrong + " lookups found another record than was asked for");
        return cost.figures(asked.length, (long) asked.length * shape.valueBytes(), "null", "null");
    }

    private static String reopen(Peer.Opening opening, Path dir, Shape shape, Values values) throws Exception {
        Cost cost = new Cost();
        try (Peer peer = opening.open(dir.toFile(), shape, values)) {
            fill(peer, shape);
        }
        try (Peer peer = opening.open(dir.toFile(), shape, values)) {
            long found = peer.scan().records;
            if (found != shape.records()) {
                throw new IllegalStateException(shape.records() + " records were closed, and " + found + " are there");
            }
        }
        for (int round = 0; round < shape.reads(); round++) {
            cost.begin();
            Peer peer = opening.open(dir.toFile(), shape, values);
            cost.end();
            peer.close();
        }
        return cost.figures(shape.reads(), 0, "null", "null");
    }

    private static String percentiles(long[] sorted) {
        return "{\"p50\":" + rank(sorted, 5_000) + ",\"p99\":" + rank(sorted, 9_900) + ",\"p999\":" + rank(sorted, 9_990) + ",\"p9999\":"
            + rank(sorted, 9_999) + ",\"max\":" + sorted[sorted.length - 1] + "}";
    }

    /** The smallest that at least so many of 10,000 did not exceed. */
    private static long rank(long[] sorted, long per10000) {
        return sorted[(int) Math.max(1, (sorted.length * per10000 + 9_999) / 10_000) - 1];
    }

    /** The bytes that files take on the disk; Java does not tell the blocks of a file, `du` does. */
    private static long storedBytes(Path dir) throws Exception {
        Process du = new ProcessBuilder(List.of("du", "-s", "--block-size=1", dir.toString())).start();
        String said = new String(du.getInputStream().readAllBytes());
        if (du.waitFor() != 0) throw new IOException("du failed");
        return Long.parseLong(said.split("\t")[0]);
    }

    /** So that whoever reads the files next finds them where the system keeps what was read lately. */
    private static void readOnce(Path dir) throws IOException {
        byte[] chunk = new byte[1 << 20];
        try (Stream<Path> found = Files.walk(dir)) {
            for (Path path : (Iterable<Path>) found.filter(Files::isRegularFile)::iterator) {
                try (InputStream file = Files.newInputStream(path)) {
                    while (file.read(chunk) >= 0) continue;
                }
            }
        }
    }

    private static void delete(Path dir) throws IOException {
        try (Stream<Path> found = Files.walk(dir)) {
            found.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        }
    }

    private static long counter(String... names) {
        try {
            long sum = 0;
            for (String line : Files.readAllLines(Path.of("/proc/self/io"))) {
                for (String name : names) {
                    if (line.startsWith(name)) sum += Long.parseLong(line.substring(name.length()).trim());
                }
            }
            return sum;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** What some work cost this process, all threads. */
    private static final class Cost {
        private long wall;
        private long cpu;
        private long calls;
        private long faults;

        void begin() {
            faults -= minorFaults();
            cpu -= processorTime();
            calls -= counter("syscr:", "syscw:");
            wall -= System.nanoTime();
        }

        void end() {
            wall += System.nanoTime();
            calls += counter("syscr:", "syscw:");
            cpu += processorTime();
            faults += minorFaults();
        }

        /** Of all threads there are; what the JVM itself tells is counted in hundredths of a second. No thread ends while it is timed. */
        private static long processorTime() {
            long sum = 0;
            for (File thread : new File("/proc/self/task").listFiles()) {
                try {
                    sum += Long.parseLong(Files.readString(thread.toPath().resolve("schedstat")).split(" ")[0]);
                } catch (IOException ended) {
                    // One of the JVM's own, between the listing and the reading.
                    continue;
                }
            }
            return sum;
        }

        private static long minorFaults() {
            try {
                String stat = Files.readString(Path.of("/proc/self/stat"));
                return Long.parseLong(stat.substring(stat.lastIndexOf(')') + 2).split(" ")[7]);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        String figures(long units, long payloadBytes, String latencies, String written) {
            return "{\"units\":" + units + ",\"payload_bytes\":" + payloadBytes + ",\"wall_ns\":" + wall + ",\"cpu_ns\":" + cpu
                + ",\"calls\":" + calls + ",\"faults\":" + faults + ",\"latency_ns\":" + latencies + ",\"written\":" + written + "}";
        }
    }
}

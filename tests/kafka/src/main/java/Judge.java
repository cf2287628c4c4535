import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeSet;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.storage.log.FetchIsolation;
import org.apache.kafka.server.util.Scheduler;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/**
 * Opens partition directories with Kafka's own log classes and says what they hold.
 *
 * Reads one command a line from its standard input, and answers each with lines that end in "done" or "failed REASON":
 *
 *   read DIR clean|unclean LOG_START RECOVERY_POINT      bounds, leader epochs, every record, the answer to each lookup by time
 *   append DIR clean|unclean COUNT EPOCH                 appends COUNT batches of two records with values kafka-OFFSET, closes cleanly
 *   truncate DIR clean|unclean OFFSET                    truncates, closes cleanly
 */
public final class Judge {
    private static final Base64.Encoder BASE64 = Base64.getEncoder();
    private final PrintStream out = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), false);

    public static void main(String[] arguments) throws Exception {
        Judge judge = new Judge();
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            try {
                judge.perform(line.split(" "));
                judge.out.println("done");
            } catch (Throwable failure) {
                judge.out.println("failed " + String.valueOf(failure).replace('\n', ' '));
            }
            judge.out.flush();
        }
    }

    private void perform(String[] words) throws Exception {
        File dir = new File(words[1]);
        boolean clean = words[2].equals("clean");
        switch (words[0]) {
            case "read" -> {
                UnifiedLog log = open(dir, clean, Long.parseLong(words[3]), Long.parseLong(words[4]));
                tell(log);
                shutDown(log);
            }
            case "append" -> {
                UnifiedLog log = open(dir, clean, 0, 0);
                append(log, Integer.parseInt(words[3]), Integer.parseInt(words[4]));
                shutDown(log);
            }
            case "truncate" -> {
                UnifiedLog log = open(dir, clean, 0, 0);
                log.truncateTo(Long.parseLong(words[3]));
                shutDown(log);
            }
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    private static UnifiedLog open(File dir, boolean clean, long logStart, long recoveryPoint) throws Exception {
        LogConfig config = new LogConfig(Map.of("internal.segment.bytes", 16384, "index.interval.bytes", 512, "retention.ms", -1));
        return UnifiedLog.create(dir, config, logStart, recoveryPoint, new Unscheduled(), new BrokerTopicStats(), Time.SYSTEM,
            300_000, new ProducerStateManagerConfig(86_400_000, false), 600_000, new LogDirFailureChannel(1), clean, Optional.empty());
    }

    /** As the log manager does at a clean stop; close() alone leaves the indexes of the active segment untrimmed. */
    private static void shutDown(UnifiedLog log) {
        log.prepareActiveSegmentForClose();
        log.flush(true);
        log.close();
    }

    private void tell(UnifiedLog log) throws Exception {
        out.println("bounds " + log.logStartOffset() + " " + log.logEndOffset());
        log.leaderEpochCache().epochEntries().forEach(entry -> out.println("epoch " + entry.epoch() + " " + entry.startOffset()));
        TreeSet<Long> times = new TreeSet<>();
        for (Record record : records(log)) {
            out.println("record " + record.offset() + " " + record.timestamp() + " " + text(record.key()) + " " + text(record.value())
                + headers(record));
            times.add(record.timestamp());
        }
        for (long time : times) {
            if (time < 0) continue;
            var found = log.fetchOffsetByTimestamp(time, Optional.empty()).timestampAndOffsetOpt();
            out.println("time " + time + " " + found.map(answer -> answer.offset + " " + answer.timestamp).orElse("none"));
        }
    }

    private static List<Record> records(UnifiedLog log) throws Exception {
        List<Record> records = new ArrayList<>();
        long next = log.logStartOffset();
        while (next < log.logEndOffset()) {
            long before = next;
            for (RecordBatch batch : log.read(next, 1 << 20, FetchIsolation.LOG_END, true).records.batches()) {
                batch.ensureValid();
                for (Record record : batch) {
                    if (record.offset() >= next) records.add(record);
                }
                next = Math.max(next, batch.nextOffset());
            }
            if (next == before) break;
        }
        return records;
    }

    private static void append(UnifiedLog log, int count, int epoch) throws Exception {
        for (int batch = 0; batch < count; batch++) {
            long end = log.logEndOffset();
            SimpleRecord[] records = new SimpleRecord[2];
            for (int index = 0; index < records.length; index++) {
                records[index] = new SimpleRecord(1_000_000 + end + index, null, ("kafka-" + (end + index)).getBytes());
            }
            log.appendAsLeader(MemoryRecords.withRecords(Compression.NONE, records), epoch);
        }
    }

    private static String text(ByteBuffer bytes) {
        if (bytes == null) return "null";
        byte[] copy = new byte[bytes.remaining()];
        bytes.duplicate().get(copy);
        return "=" + BASE64.encodeToString(copy);
    }

    private static String headers(Record record) {
        StringBuilder text = new StringBuilder();
        for (Header header : record.headers()) {
            String value = header.value() == null ? "null" : "=" + BASE64.encodeToString(header.value());
            text.append(' ').append(BASE64.encodeToString(header.key().getBytes())).append(':').append(value);
        }
        return text.toString();
    }

    /** Nothing is done later: what Kafka leaves to its scheduler (deleting files after a delay) is not looked at. */
    private static final class Unscheduled implements Scheduler {
        private static final ScheduledExecutorService NEVER = Executors.newSingleThreadScheduledExecutor(Unscheduled::daemon);

        private static Thread daemon(Runnable body) {
            Thread thread = new Thread(body);
            thread.setDaemon(true);
            return thread;
        }

        @Override public void startup() { }
        @Override public void shutdown() { }
        @Override public ScheduledFuture<?> schedule(String name, Runnable task, long delayMs, long periodMs) {
            return NEVER.schedule(() -> { }, 1000, TimeUnit.DAYS);
        }
        @Override public void resizeThreadPool(int size) { }
    }
}

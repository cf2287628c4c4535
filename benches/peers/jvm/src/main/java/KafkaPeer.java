import java.io.File;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.Optional;

import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.FileRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.storage.log.FetchIsolation;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/**
 * Apache Kafka's own log layer, without the network: a call encodes a batch as a producer does, and appends it as a leader does.
 * Read as a consumer does: whole batches into memory, every checksum verified, every record decoded.
 */
final class KafkaPeer implements Peer {
    private static final int CHUNK_BYTES = 1 << 20;
    private final KafkaScheduler scheduler = new KafkaScheduler(1);
    private final UnifiedLog log;
    private final Shape shape;
    private final Values values;
    private ByteBuffer buffer = ByteBuffer.allocate(2 * CHUNK_BYTES);

    KafkaPeer(File dir, Shape shape, Values values) throws Exception {
        this.shape = shape;
        this.values = values;
        long encoded = (long) shape.segmentBytes() * shape.encodedBytes() / ((long) shape.batchRecords() * shape.valueBytes());
        // A broker's own way to have a message on the disk before it is acknowledged is to flush after each.
        long flush = shape.kind().equals("durable") ? 1 : Long.MAX_VALUE;
        LogConfig config = new LogConfig(Map.of("internal.segment.bytes", (int) encoded, "retention.ms", -1, "flush.messages", flush));
        File partition = new File(dir, "peers-0");
        if (!partition.isDirectory() && !partition.mkdirs()) throw new IllegalStateException("no folder " + partition);
        scheduler.startup();
        // The recovery point does not count after a clean stop.
        log = UnifiedLog.create(partition, config, 0, 0, scheduler, new BrokerTopicStats(), Time.SYSTEM, 300_000,
            new ProducerStateManagerConfig(86_400_000, false), 600_000, new LogDirFailureChannel(1), true, Optional.empty());
    }

    @Override public void append(int record) throws Exception {
        SimpleRecord one = new SimpleRecord(System.currentTimeMillis(), null, values.of(record));
        log.appendAsLeader(MemoryRecords.withRecords(Compression.NONE, one), 0);
    }

    @Override public void appendBatch(int records) throws Exception {
        long now = System.currentTimeMillis();
        SimpleRecord[] batch = new SimpleRecord[records];
        for (int record = 0; record < records; record++) batch[record] = new SimpleRecord(now, null, values.of(record));
        log.appendAsLeader(MemoryRecords.withRecords(Compression.NONE, batch), 0);
    }

    @Override public Durably durably() {
        return new Durably() {
            @Override public void append(int record) throws Exception {
                KafkaPeer.this.append(record);
                if (log.recoveryPoint() < 1) throw new IllegalStateException("an append returned that was not flushed");
            }

            @Override public void close() { }
        };
    }

    @Override public Sum scan() throws Exception {
        Sum sum = new Sum();
        long next = log.logStartOffset();
        while (next < log.logEndOffset()) {
            for (MutableRecordBatch batch : fetch(next, CHUNK_BYTES).batches()) {
                batch.ensureValid();
                for (Record record : batch) sum.add(record.value());
                next = batch.nextOffset();
            }
        }
        return sum;
    }

    @Override public boolean lookup(int record) throws Exception {
        for (MutableRecordBatch batch : fetch(record, 1).batches()) {
            batch.ensureValid();
            for (Record found : batch) {
                if (found.offset() == record) return found.value().equals(ByteBuffer.wrap(values.of(record)));
            }
        }
        return false;
    }

    private MemoryRecords fetch(long from, int bytes) throws Exception {
        FileRecords found = (FileRecords) log.read(from, bytes, FetchIsolation.LOG_END, true).records;
        if (buffer.capacity() < found.sizeInBytes()) buffer = ByteBuffer.allocate(found.sizeInBytes());
        buffer.clear().limit(found.sizeInBytes());
        found.readInto(buffer, 0);
        return MemoryRecords.readableRecords(buffer);
    }

    /** As the log manager does at a clean stop. */
    @Override public void close() {
        try {
            log.prepareActiveSegmentForClose();
            log.flush(true);
            log.close();
            scheduler.shutdown();
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }
}

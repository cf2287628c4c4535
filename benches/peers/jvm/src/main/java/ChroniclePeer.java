import java.io.File;

import net.openhft.chronicle.bytes.Bytes;
import net.openhft.chronicle.bytes.SyncMode;
import net.openhft.chronicle.queue.ExcerptAppender;
import net.openhft.chronicle.queue.ExcerptTailer;
import net.openhft.chronicle.queue.impl.single.SingleChronicleQueue;
import net.openhft.chronicle.queue.impl.single.SingleChronicleQueueBuilder;
import net.openhft.chronicle.wire.DocumentContext;

/**
 * Chronicle Queue: excerpts stored into a mapped file, without a checksum. A record is an excerpt; a batch is one excerpt with a length
 * before each record, which is as atomic as the batches of the others. Durable appends call sync() under SyncMode.SYNC: an msync each.
 */
final class ChroniclePeer implements Peer {
    private final Shape shape;
    private final Values values;
    private final SingleChronicleQueue queue;
    private final ExcerptAppender appender;
    private final ExcerptTailer tailer;
    private final Bytes<?>[] stored;
    /** Where excerpts are, for who looks one up. */
    private final long[] indexes;
    private int appended;

    ChroniclePeer(File dir, Shape shape, Values values) {
        this.shape = shape;
        this.values = values;
        SyncMode mode = shape.kind().equals("durable") ? SyncMode.SYNC : SyncMode.NONE;
        queue = SingleChronicleQueueBuilder.binary(dir).syncMode(mode).build();
        appender = queue.createAppender();
        tailer = queue.createTailer();
        stored = stored(values);
        indexes = new long[shape.kind().equals("lookup") ? shape.calls() : 0];
    }

    private static Bytes<?>[] stored(Values values) {
        Bytes<?>[] stored = new Bytes<?>[Values.POOL];
        for (int record = 0; record < stored.length; record++) stored[record] = Bytes.allocateDirect(values.of(record));
        return stored;
    }

    @Override public void append(int record) {
        appender.writeBytes(stored[record % Values.POOL]);
        if (appended < indexes.length) indexes[appended++] = appender.lastIndexAppended();
    }

    @Override public void appendBatch(int records) {
        try (DocumentContext document = appender.writingDocument()) {
            Bytes<?> bytes = document.wire().bytes();
            for (int record = 0; record < records; record++) {
                bytes.writeInt(shape.valueBytes());
                bytes.write(stored[record % Values.POOL]);
            }
        }
    }

    @Override public Durably durably() {
        ExcerptAppender own = queue.createAppender();
        Bytes<?>[] stored = stored(values);
        return new Durably() {
            @Override public void append(int record) {
                own.writeBytes(stored[record % Values.POOL]);
                own.sync();
            }

            @Override public void close() {
                own.close();
            }
        };
    }

    @Override public Sum scan() {
        Sum sum = new Sum();
        tailer.toStart();
        while (true) {
            try (DocumentContext document = tailer.readingDocument()) {
                if (!document.isPresent()) return sum;
                Bytes<?> bytes = document.wire().bytes();
                if (shape.batchRecords() == 1) {
                    add(sum, bytes, (int) bytes.readRemaining());
                } else {
                    while (bytes.readRemaining() > 0) add(sum, bytes, bytes.readInt());
                }
            }
        }
    }

    private static void add(Sum sum, Bytes<?> bytes, int length) {
        long from = bytes.readPosition();
        sum.add(length, bytes.readLong(from), bytes.readLong(from + length - 8));
        bytes.readPosition(from + length);
    }

    @Override public boolean lookup(int record) {
        if (!tailer.moveToIndex(indexes[record])) return false;
        try (DocumentContext document = tailer.readingDocument()) {
            Bytes<?> bytes = document.wire().bytes();
            return document.isPresent() && bytes.contentEquals(stored[record % Values.POOL]);
        }
    }

    @Override public void close() {
        tailer.close();
        appender.close();
        queue.close();
        for (Bytes<?> value : stored) value.releaseLast();
    }
}

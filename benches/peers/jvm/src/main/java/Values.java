import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** The values of records: the same bytes for the same number as on the Rust side. */
final class Values {
    static final int POOL = 512;
    private static final long POOL_DIGEST = Long.parseUnsignedLong("9881501287277364488");
    private final byte[][] values;

    Values(int valueBytes) {
        long state = 0x9e3779b97f4a7c15L;
        ByteBuffer pool = ByteBuffer.allocate((POOL * valueBytes + 7) / 8 * 8).order(ByteOrder.LITTLE_ENDIAN);
        while (pool.hasRemaining()) pool.putLong(state = next(state));
        values = new byte[POOL][valueBytes];
        pool.flip();
        for (byte[] value : values) pool.get(value);
    }

    /** That these are the values of the Rust side: a test there has the same number. */
    static void check() {
        Sum sum = new Sum();
        Values values = new Values(100);
        for (int record = 0; record < POOL; record++) sum.add(values.of(record));
        if (sum.digest() != POOL_DIGEST) throw new IllegalStateException("other values than those of the Rust side: " + sum);
    }

    byte[] of(int record) {
        return values[record % POOL];
    }

    /** What all values of the records of so many calls come to. */
    Sum sum(Shape shape) {
        Sum sum = new Sum();
        for (int call = 0; call < shape.calls(); call++) {
            for (int record = 0; record < shape.batchRecords(); record++) sum.add(of(shape.batchRecords() == 1 ? call : record));
        }
        return sum;
    }

    /** Record numbers below a limit, in an order that no read-ahead can guess. */
    static int[] randomRecords(int below, int count) {
        long state = 0x2545f4914f6cdd1dL;
        int[] records = new int[count];
        for (int at = 0; at < count; at++) {
            state = next(state);
            records[at] = (int) Long.remainderUnsigned(state, below);
        }
        return records;
    }

    private static long next(long state) {
        state ^= state << 13;
        state ^= state >>> 7;
        return state ^ state << 17;
    }
}

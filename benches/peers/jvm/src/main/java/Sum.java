import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** What tells, at little cost, whether the right records were read in the right order. */
final class Sum {
    private static final VarHandle ARRAY = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle BUFFER = MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    long records;
    private long bytes;
    private long digest;

    void add(byte[] value) {
        add(value.length, (long) ARRAY.get(value, 0), (long) ARRAY.get(value, value.length - 8));
    }

    void add(ByteBuffer value) {
        int end = value.limit();
        add(value.remaining(), (long) BUFFER.get(value, value.position()), (long) BUFFER.get(value, end - 8));
    }

    void add(int length, long first, long last) {
        records++;
        bytes += length;
        digest = Long.rotateLeft(digest, 5) ^ first ^ Long.rotateLeft(last, 1);
    }

    long digest() {
        return digest;
    }

    boolean is(Sum other) {
        return records == other.records && bytes == other.bytes && digest == other.digest;
    }

    @Override public String toString() {
        return records + " records of " + bytes + " bytes, digest " + digest;
    }
}
